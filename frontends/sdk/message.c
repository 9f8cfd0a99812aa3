/* SPDX-License-Identifier: Apache-2.0 */
/* What kinds of message stand for which content types. */
#include "config.h"

#include "frontends/sdk/message.h"

const char *
message_kind_type(enum message_kind kind)
{
    switch (kind) {
    case MESSAGE_JSON:
        return "application/json";
    case MESSAGE_TEXT:
        return "text/plain; charset=utf-8";
    case MESSAGE_BINARY:
        break;
    }
    return "application/octet-stream";
}
