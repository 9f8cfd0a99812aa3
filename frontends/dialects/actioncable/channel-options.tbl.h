/* SPDX-License-Identifier: Apache-2.0 */
/* One item of the list channels. Columns: base/conf.h. */
OPTION("channel", STRING, channel, LIVE, NULL, "1", "256", "ChatChannel",
    "The class of the channel, as clients name it.")
OPTION("stream", LIST, stream, LIVE, NULL, "1", "8", "chat/{room}",
    "The topics whose messages its subscribers get, one or several. {name} stands for a parameter of the subscription, {claim:name} for "
    "a claim of the token with which the client connected, {signed:name} and {turbo:name} for a parameter that holds a name which "
    "the application signed with cable's streams_secret or turbo_secret. A value is text, a number, true or false; a subscription "
    "whose value is missing, or would bring a / or a wildcard without being signed, is rejected.")
OPTION("publish", LIST, publish, LIVE, "", "0", "64", "speak",
    "The actions that publish: what is performed becomes a message of publish_topic, without its member \"action\". "
    "What is sent without an action is receive.")
OPTION("publish_topic", STRING, publish_topic, LIVE, "", "0", "1024", "chat/{room}",
    "Where they publish to; empty for the first stream. {action} stands for the action's name.")
OPTION("request", LIST, request, LIVE, "", "0", "64", "history",
    "The actions that are requests: what is performed goes to a responder on request_topic, and its reply to who performed it, as a "
    "message.")
OPTION("request_topic", STRING, request_topic, LIVE, "", "0", "1024", "services/chat/{action}",
    "Where they go.")
OPTION("presence", BOOL, presence, LIVE, "false", "", "", "",
    "Whether subscribers may join the presence of its first topic and hear of others (extended protocol). The topic's settings say whether it is recorded.")
OPTION("whisper", BOOL, whisper, LIVE, "false", "", "", "",
    "Whether subscribers may whisper to each other (extended protocol): messages that are not stored and that their sender does not get.")
#undef OPTION
