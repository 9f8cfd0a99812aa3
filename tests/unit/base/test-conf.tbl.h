/* SPDX-License-Identifier: Apache-2.0 */
OPTION("flag", BOOL, flag, LIVE, "true", "", "", "", "A flag.")
OPTION("count", COUNT, count, RESTART, "10", "1", "100", "", "A count.")
OPTION("pause", TIME, pause_ms, LIVE, "10s", "0", "1h", "", "A time.")
OPTION("room", BYTES, room, LIVE, "64KiB", "1KiB", "1GiB", "", "A size.")
OPTION("title", STRING, title, LIVE, "", "0", "8", "x y", "A text.")
OPTION("folder", PATH, folder, LIVE, "/var/demo", "1", "200", "", "A path.")
OPTION("mode", ENUM, mode, LIVE, "two", "", "", "one|two|three", "A choice.")
OPTION("listen", ADDRESS, listen, RESTART, "127.0.0.1:80", "", "", "", "An address.")
OPTION("names", LIST, names, LIVE, "*", "", "3", "", "A list.")
OPTION("old", RETIRED, none, LIVE, "", "", "", "", "Use title.")
#undef OPTION
