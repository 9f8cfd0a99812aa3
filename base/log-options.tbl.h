/* SPDX-License-Identifier: Apache-2.0 */
/* Section log. Columns: base/conf.h. The choices stand in the order of enum log_level and enum log_format. */
OPTION("level", ENUM, level, LIVE, "info", "", "", "error|warn|notice|info|debug",
    "The least important kind of message that is written.")
OPTION("format", ENUM, format, RESTART, "auto", "", "", "auto|text|json|journal",
    "How messages are written: auto is journal under systemd and text elsewhere; json is one object a line.")
#undef OPTION
