/* SPDX-License-Identifier: Apache-2.0 */
/* Options at the top level of the config file, for every process. Columns: base/conf.h. */
OPTION("runtime_dir", PATH, runtime_dir, RESTART, "/run/busbar", "1", "80", "",
    "The folder where the processes of one bus meet: sockets and the lock. "
    "Two buses on one machine need two folders. "
    "A person who starts a bus without the right to write to the default gets a folder of their own.")
#undef OPTION
