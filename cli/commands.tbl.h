/* SPDX-License-Identifier: Apache-2.0 */
/* The subcommands of busbar: COMMAND(name, function, summary). function is int fn(int argc, char **argv) with
 * argv[0] "busbar NAME"; it returns an exit code (base/proc.h). It is declared by this table too. */
COMMAND("up", command_up, "run the broker and the frontends, and restart what dies")
COMMAND("restart", command_restart, "restart frontends or the broker without refusing a client")
COMMAND("pub", command_pub, "publish: an argument, standard input, or each of its lines")
COMMAND("sub", command_sub, "print what is published, and go on through every lost connection")
COMMAND("request", command_request, "ask a responder and print its reply")
COMMAND("respond", command_respond, "answer requests with a command")
COMMAND("queue", command_queue, "list work queues, take what is in them, and tidy them up")
COMMAND("presence", command_presence, "show who is there on a topic")
COMMAND("topics", command_topics, "list topics")
COMMAND("status", command_status, "show the figures of the broker and of each frontend")
COMMAND("check-config", command_check_config, "check a configuration and say what is wrong with it")
COMMAND("sample-config", command_sample_config, "print a configuration with every option and its default")
#undef COMMAND
