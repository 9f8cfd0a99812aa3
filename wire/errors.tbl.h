/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The stable error codes, the same on every transport. Included with ERROR(NAME, "code", http_status, "sentence");
 * the sentence is the default for people and the row of docs/protocol.md. Codes are never renamed.
 */
ERROR(REQUEST_INVALID, "request_invalid", 400, "The request could not be read: not well-formed, a key missing, or a wrong type.")
ERROR(OP_UNKNOWN, "op_unknown", 400, "There is no such operation.")
ERROR(TOPIC_INVALID, "topic_invalid", 400, "A topic is 1 to 1024 bytes of UTF-8, levels separated by '/', without wildcards or control characters.")
ERROR(FILTER_INVALID, "filter_invalid", 400, "A filter is a topic in which '+' stands for one whole level and a last '#' for the rest.")
ERROR(CURSOR_INVALID, "cursor_invalid", 400, "A cursor is taken from an answer as it is; this is not one.")
ERROR(BODY_INVALID, "body_invalid", 400, "The payload is not what it says it is: bad JSON, base64 or UTF-8.")
ERROR(NOT_ALLOWED, "not_allowed", 403, "The topic's settings or the client's rights forbid this.")
ERROR(NOT_FOUND, "not_found", 404, "There is nothing at this address.")
ERROR(SUBSCRIPTION_UNKNOWN, "subscription_unknown", 404, "This client has no subscription with that id.")
ERROR(SUBSCRIPTION_EXISTS, "subscription_exists", 409, "This client has a subscription with that id already; unsub it first or choose another.")
ERROR(MESSAGE_TOO_LARGE, "message_too_large", 413, "The message is larger than this topic or this server takes.")
ERROR(LIMIT_REACHED, "limit_reached", 429, "A limit of this server was reached; the message names it.")
ERROR(UNAVAILABLE, "unavailable", 503, "The broker cannot be reached now and the hold buffer is full; try again.")
ERROR(TIMEOUT, "timeout", 504, "No answer came in time.")
ERROR(TOO_SLOW, "too_slow", 503, "This client did not read fast enough and messages were dropped or it was disconnected.")
ERROR(SHUTTING_DOWN, "shutting_down", 503, "This server is stopping; connect again.")
ERROR(VERSION_UNSUPPORTED, "version_unsupported", 400, "The two ends speak different versions of the protocol.")
ERROR(STORE_FAILED, "store_failed", 507, "The store could not keep the message.")
ERROR(INTERNAL, "internal", 500, "A fault of this server; its log says more.")
