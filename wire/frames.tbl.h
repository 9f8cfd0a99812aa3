/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every frame of the link between the broker and a frontend: the one definition from which the structs,
 * the packer, the decoder, the names in logs and the reference in docs/link.md are made. Included several
 * times with other macros; it has no include guard on purpose.
 *
 * On the wire a frame is a MessagePack array: [number, field, field, ...] with exactly the fields below.
 *
 *     FRAME_BEGIN(name, NAME, number, DIRECTION)    DIRECTION: TO_BROKER, TO_FRONTEND, BOTH
 *         FIELD(type, name)                         type: u64, str (UTF-8), bin, strs (array of str)
 *     FRAME_END(name, NAME)
 *
 * To change it: 1. append a frame with a new number, or a field to a new frame; numbers are never used again;
 * 2. raise LINK_PROTO in wire/frame.h if an old peer would misunderstand; 3. write its comment: it is the
 * manual; 4. regenerate docs/link.md (tools/link-doc); 5. add the handler's row in broker/router.c or
 * frontends/sdk/uplink.c; 6. add a file to tests/fuzz/corpus/frame.
 */

/* ---- The control socket: one request, one answer, each alone in its message. ---- */

/* A frontend asks for a link. `name` is unique among live frontends ("ws.1"); `boot` is random for each start
 * of the process and names the origin of its publishes; `epoch` is the last epoch it knew, 0 at first. */
FRAME_BEGIN(hello, HELLO, 1, TO_BROKER)
    FIELD(u64, proto)
    FIELD(str, name)
    FIELD(str, kind)
    FIELD(str, version)
    FIELD(u64, boot)
    FIELD(u64, pid)
    FIELD(u64, epoch)
FRAME_END(hello, HELLO)

/* The link is at `url` for one use, to be attached with `session` and `token` (16 bytes) within a second.
 * `credit`: bytes that may be in flight towards the broker; `heartbeat_ms`: how often each end sends at
 * least an empty batch (three missed: the peer is gone); `max_message`: the largest body that it takes. */
FRAME_BEGIN(welcome, WELCOME, 2, TO_FRONTEND)
    FIELD(u64, proto)
    FIELD(u64, session)
    FIELD(bin, token)
    FIELD(str, url)
    FIELD(u64, epoch)
    FIELD(u64, credit)
    FIELD(u64, heartbeat_ms)
    FIELD(u64, max_message)
FRAME_END(welcome, WELCOME)

/* No link; `code` from wire/errors.tbl.h, `message` says what to do. */
FRAME_BEGIN(refused, REFUSED, 3, TO_FRONTEND)
    FIELD(str, code)
    FIELD(str, message)
FRAME_END(refused, REFUSED)

/* ---- The link. Every message on it is a batch: a BATCH frame, then any number of others. ---- */

/* Heads each batch. `number` counts from 1 without gaps in each direction; `ack` is the last batch of the peer
 * that was processed; `credit`: how many bytes of batches the peer may have unacknowledged towards the sender
 * of this one; `position`: (to a frontend) the highest seq up to which this link has been sent everything it
 * subscribed to, 0 while it is catching up. */
FRAME_BEGIN(batch, BATCH, 4, BOTH)
    FIELD(u64, session)
    FIELD(u64, number)
    FIELD(u64, ack)
    FIELD(u64, credit)
    FIELD(u64, position)
FRAME_END(batch, BATCH)

/* First frame of a frontend on a new link. */
FRAME_BEGIN(attach, ATTACH, 5, TO_BROKER)
    FIELD(u64, session)
    FIELD(bin, token)
FRAME_END(attach, ATTACH)

/* The link stands. `epoch` and `seq`: the bus's position now. */
FRAME_BEGIN(attached, ATTACHED, 6, TO_FRONTEND)
    FIELD(u64, epoch)
    FIELD(u64, seq)
FRAME_END(attached, ATTACHED)

/* From now on `handle` (0 .. 65535, the frontend's own numbers) stands for `topic` in PUBLISH on this link. A
 * handle may be given again to another topic. */
FRAME_BEGIN(name, NAME, 7, TO_BROKER)
    FIELD(u64, handle)
    FIELD(str, topic)
FRAME_END(name, NAME)

/* From now on `handle` (the broker's own numbers) stands for `topic` on this link. `policy`: what happens to a
 * client that is too slow for this topic: 0 disconnect it; 1 drop_oldest: throw away what waits for it; 2
 * conflate: of what waits keep the latest message of each topic and key; 3 catch_up: throw away what waits, and RECOVER
 * for it from there when it reads again. A number that the frontend does not know: 0. */
FRAME_BEGIN(topic, TOPIC, 8, TO_FRONTEND)
    FIELD(u64, handle)
    FIELD(str, topic)
    FIELD(u64, policy)
FRAME_END(topic, TOPIC)

/* The handle stands for nothing any more. */
FRAME_BEGIN(forget, FORGET, 9, TO_FRONTEND)
    FIELD(u64, handle)
FRAME_END(forget, FORGET)

/* ---- Interest. ---- */

/* The frontend wants what matches `pattern` from now on; `filter` is its own number for it, not in use. Before
 * RESUME (right after ATTACHED) it only lists; nothing is delivered until RESUMED. */
FRAME_BEGIN(subscribe, SUBSCRIBE, 10, TO_BROKER)
    FIELD(u64, filter)
    FIELD(str, pattern)
FRAME_END(subscribe, SUBSCRIBE)

/* Everything that matches with a seq above `seq` follows on this link. `retained`: 1 if a kept value exists
 * that matches (a joiner who wants it asks by RECOVER). */
FRAME_BEGIN(subscribed, SUBSCRIBED, 11, TO_FRONTEND)
    FIELD(u64, filter)
    FIELD(u64, seq)
    FIELD(u64, retained)
FRAME_END(subscribed, SUBSCRIBED)

/* The filter is not held; its number is free again. */
FRAME_BEGIN(unsubscribable, UNSUBSCRIBABLE, 12, TO_FRONTEND)
    FIELD(u64, filter)
    FIELD(str, code)
    FIELD(str, message)
FRAME_END(unsubscribable, UNSUBSCRIBABLE)

FRAME_BEGIN(unsubscribe, UNSUBSCRIBE, 13, TO_BROKER)
    FIELD(u64, filter)
FRAME_END(unsubscribe, UNSUBSCRIBE)

/* Once per link, after the SUBSCRIBEs of all that the frontend holds: deliver what matches them above this
 * position, then live. `epoch` 0: a new frontend, live only. */
FRAME_BEGIN(resume, RESUME, 14, TO_BROKER)
    FIELD(u64, epoch)
    FIELD(u64, seq)
FRAME_END(resume, RESUME)

/* Everything up to `seq` has been delivered on this link; live from here. `state`: 0 live (there was nothing to
 * resume), 1 recovered, 2 gap (GAP frames with req 0 came before), 3 reset (the epoch is another one: old
 * cursors are void, nothing was replayed). The broker also sends it unasked, after it had let a link that
 * was too slow fall behind and has caught up with it. */
FRAME_BEGIN(resumed, RESUMED, 15, TO_FRONTEND)
    FIELD(u64, state)
    FIELD(u64, epoch)
    FIELD(u64, seq)
FRAME_END(resumed, RESUMED)

/* Messages of `topic` up to `seq` are no longer kept and the asker had not seen them. `req` 0: the link. An empty
 * topic: of topics that are no longer known by name. */
FRAME_BEGIN(gap, GAP, 16, TO_FRONTEND)
    FIELD(u64, req)
    FIELD(str, topic)
    FIELD(u64, seq)
FRAME_END(gap, GAP)

/* ---- Recovery for one joiner. ---- */

/* Replay for one client what matches any of `filters`. `mode`: 0 since the position, 1 the last `count` messages of
 * each topic, 2 the retained value of each topic. All of it must be covered by SUBSCRIBEs of this link sent
 * before, so that what follows the answer is live. `req` is the frontend's number, not 0, not in use.
 * Mode 0 takes `count` as the most messages to replay, 0 for all. */
FRAME_BEGIN(recover, RECOVER, 20, TO_BROKER)
    FIELD(u64, req)
    FIELD(strs, filters)
    FIELD(u64, mode)
    FIELD(u64, epoch)
    FIELD(u64, seq)
    FIELD(u64, count)
FRAME_END(recover, RECOVER)

/* One message of a replay, in the order of seq; the fields are those of MESSAGE. */
FRAME_BEGIN(replay, REPLAY, 21, TO_FRONTEND)
    FIELD(u64, req)
    FIELD(u64, handle)
    FIELD(u64, seq)
    FIELD(u64, prev)
    FIELD(u64, time_ms)
    FIELD(u64, flags)
    FIELD(u64, kind)
    FIELD(str, type)
    FIELD(bin, headers)
    FIELD(str, key)
    FIELD(bin, body)
FRAME_END(replay, REPLAY)

/* The replay is complete up to `seq`; every matching message above it follows (or followed) live on this link, and
 * none at or below it does after this frame. `state` as in RESUMED; with 2 GAP frames came before. `more`: 1 if
 * `count` cut it short; then `seq` is that of the last message replayed. */
FRAME_BEGIN(recovered, RECOVERED, 22, TO_FRONTEND)
    FIELD(u64, req)
    FIELD(u64, state)
    FIELD(u64, epoch)
    FIELD(u64, seq)
    FIELD(u64, more)
FRAME_END(recovered, RECOVERED)

/* The joiner left; nothing more need be sent for `req`. RECOVERED still comes and frees the number. */
FRAME_BEGIN(cancel, CANCEL, 23, TO_BROKER)
    FIELD(u64, req)
FRAME_END(cancel, CANCEL)

/* ---- Messages. ---- */

/* A client published. `pub` counts from 1 without gaps for one boot of the frontend; one that was appended before
 * is not appended again, only answered. `flags`: 1 retain. `kind`: 0 binary, 1 text (UTF-8), 2 JSON.
 * `type`: content type, empty for the kind's usual one. `headers`: a MessagePack map of str to str, or empty. `key`: idempotency key, or
 * empty; subscribers get it too. An empty retained body clears the retained value. */
FRAME_BEGIN(publish, PUBLISH, 30, TO_BROKER)
    FIELD(u64, pub)
    FIELD(u64, handle)
    FIELD(u64, flags)
    FIELD(u64, kind)
    FIELD(str, type)
    FIELD(bin, headers)
    FIELD(str, key)
    FIELD(bin, body)
FRAME_END(publish, PUBLISH)

/* Publishes `pub` .. `pub`+`count`-1 were appended as `seq` .. `seq`+`count`-1. */
FRAME_BEGIN(published, PUBLISHED, 31, TO_FRONTEND)
    FIELD(u64, pub)
    FIELD(u64, seq)
    FIELD(u64, count)
FRAME_END(published, PUBLISHED)

/* Publish `pub` was not appended and will not be. */
FRAME_BEGIN(rejected, REJECTED, 32, TO_FRONTEND)
    FIELD(u64, pub)
    FIELD(str, code)
    FIELD(str, message)
FRAME_END(rejected, REJECTED)

/* One message for all that this frontend subscribed; sent once however many clients or filters match. `prev`: the seq
 * before it on the same topic, 0 if none: a frontend that should have had it and has not is missing something.
 * `flags`: 1 retained by its publisher. `key`: as in PUBLISH; of what waits for a client that is too slow for a
 * `conflate` topic, the latest of each key is kept. */
FRAME_BEGIN(message, MESSAGE, 33, TO_FRONTEND)
    FIELD(u64, handle)
    FIELD(u64, seq)
    FIELD(u64, prev)
    FIELD(u64, time_ms)
    FIELD(u64, flags)
    FIELD(u64, kind)
    FIELD(str, type)
    FIELD(bin, headers)
    FIELD(str, key)
    FIELD(bin, body)
FRAME_END(message, MESSAGE)

/* ---- Questions. ---- */

/* Which topics match `filter`, by name above `after`, at most `limit` (1000 at most). */
FRAME_BEGIN(list, LIST, 50, TO_BROKER)
    FIELD(u64, req)
    FIELD(str, filter)
    FIELD(str, after)
    FIELD(u64, limit)
FRAME_END(list, LIST)

/* One of them: its last seq, what it keeps, and how many links want it. */
FRAME_BEGIN(listed, LISTED, 51, TO_FRONTEND)
    FIELD(u64, req)
    FIELD(str, topic)
    FIELD(u64, seq)
    FIELD(u64, n_kept)
    FIELD(u64, n_bytes)
    FIELD(u64, n_links)
FRAME_END(listed, LISTED)

FRAME_BEGIN(list_end, LIST_END, 52, TO_FRONTEND)
    FIELD(u64, req)
    FIELD(u64, more)
FRAME_END(list_end, LIST_END)

/* The frontend's own figures as one JSON object (at most 16 KiB); the broker publishes it as
 * $sys/frontends/NAME. */
FRAME_BEGIN(stats, STATS, 60, TO_BROKER)
    FIELD(bin, json)
FRAME_END(stats, STATS)

/* ---- Parting. ---- */

/* The sender is about to close, will send nothing more, and waits for BYE (a second at most). */
FRAME_BEGIN(goodbye, GOODBYE, 70, BOTH)
    FIELD(str, reason)
FRAME_END(goodbye, GOODBYE)

/* Everything up to the GOODBYE was processed. */
FRAME_BEGIN(bye, BYE, 71, BOTH)
FRAME_END(bye, BYE)
