/* SPDX-License-Identifier: Apache-2.0 */
/* The name of every section of the config file: a process passes over those that are not its own, and still
 * refuses a name that nobody knows. A new section needs its name here. */
SECTION("")
SECTION("log")
SECTION("link")
SECTION("broker")
SECTION("store")
SECTION("topics")
SECTION("limits")
SECTION("io")
SECTION("ws")
SECTION("jwt")
SECTION("cable")
SECTION("channels")
SECTION("http")
SECTION("tcp")
SECTION("up")
#undef SECTION
