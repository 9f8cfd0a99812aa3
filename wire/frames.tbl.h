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
 * To change it: 1. append a frame with a new number; numbers are never used again; 2. raise LINK_PROTO in
 * wire/frame.h if what there was changes: a peer of before takes a frame with one field more for malformed and
 * ends the link (tests/unit/wire/test-frame knows which fields were there); 3. write its comment: it is the
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
 * each topic, 2 the retained value of each topic, 3 of the last `count` messages of each topic those published at or after
 * `seq`, here in milliseconds since 1970. All of it must be covered by SUBSCRIBEs of this link sent
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
 * `type`: content type, empty for the kind's usual one. `headers`: a MessagePack map of str to str, or empty.
 * `key`: what it is the value of, or empty; subscribers get it. `once`: idempotency key, or empty, for the broker
 * alone; if it is empty, `key` serves as one too, but for topics of slow_consumer conflate. An empty retained body
 * clears the retained value. `ttl_ms`: how long it may be delivered, 0 for as long as it is kept. `delay_ms`: it is
 * kept aside for so long and published then, with the seq of that moment; the answer is SCHEDULED. */
FRAME_BEGIN(publish, PUBLISH, 30, TO_BROKER)
    FIELD(u64, pub)
    FIELD(u64, handle)
    FIELD(u64, flags)
    FIELD(u64, kind)
    FIELD(u64, ttl_ms)
    FIELD(u64, delay_ms)
    FIELD(str, type)
    FIELD(bin, headers)
    FIELD(str, key)
    FIELD(str, once)
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

/* Publish `pub` is kept and will be appended at `due_ms` (milliseconds since 1970). */
FRAME_BEGIN(scheduled, SCHEDULED, 34, TO_FRONTEND)
    FIELD(u64, pub)
    FIELD(u64, due_ms)
FRAME_END(scheduled, SCHEDULED)

/* One message for all that this frontend subscribed; sent once however many clients or filters match. `prev`: the seq
 * before it on the same topic: a frontend that should have had it and has not is missing something; 0 if there is none,
 * and where nothing is said of it: in what a link is sent to catch up, and of topics that nothing is kept of.
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

/* ---- Consumers: members of queues, and responders. ---- */

/* One client takes work: its share of what comes for `topic`. `consumer` is the frontend's number for it, never used again
 * in the life of its process. `mode`: 0 member of the group `group` of a queue, `topic` is a topic; 1 responder to requests,
 * `topic` is a filter. `flags`: 1 its leases outlive it (a client that fetches one message at a time and settles it by another
 * request). `credit`: how much it takes at once; what it has settled may be given anew. `seq`: of a group that is new, the
 * messages above it are its work, whatever the link's RESUME says; with `epoch` 0, those from now on and, of a topic with queue
 * settings, all that it keeps. After ATTACHED, before RESUME, the frontend lists its consumers again, each followed by a HOLD
 * for every lease or call that it has and has not settled. */
FRAME_BEGIN(consume, CONSUME, 80, TO_BROKER)
    FIELD(u64, consumer)
    FIELD(str, topic)
    FIELD(str, group)
    FIELD(u64, mode)
    FIELD(u64, flags)
    FIELD(u64, credit)
    FIELD(u64, epoch)
    FIELD(u64, seq)
FRAME_END(consume, CONSUME)

/* It is one of them now. */
FRAME_BEGIN(consuming, CONSUMING, 81, TO_FRONTEND)
    FIELD(u64, consumer)
    FIELD(u64, seq)
FRAME_END(consuming, CONSUMING)

/* It is not, or no longer (its group was purged away, the settings changed). */
FRAME_BEGIN(unconsumable, UNCONSUMABLE, 82, TO_FRONTEND)
    FIELD(u64, consumer)
    FIELD(str, code)
    FIELD(str, message)
FRAME_END(unconsumable, UNCONSUMABLE)

/* The client left: what it has not settled goes to others at once (not with flag 1), its calls are answered by
 * responder_gone. What crosses with this is void. */
FRAME_BEGIN(unconsume, UNCONSUME, 83, TO_BROKER)
    FIELD(u64, consumer)
FRAME_END(unconsume, UNCONSUME)

/* It takes so much more: for fetching, and for a changed prefetch. More than 65,535 in all makes no difference. */
FRAME_BEGIN(credit, CREDIT, 84, TO_BROKER)
    FIELD(u64, consumer)
    FIELD(u64, more)
FRAME_END(credit, CREDIT)

/* A message for one consumer, and for nobody else until it is settled or `lease_ms` have passed. `lease` (at most 64 bytes) is
 * opaque, and valid on any link and after any restart. `n_deliveries` counts this one, from 1. */
FRAME_BEGIN(dispatch, DISPATCH, 85, TO_FRONTEND)
    FIELD(u64, consumer)
    FIELD(str, lease)
    FIELD(u64, n_deliveries)
    FIELD(u64, lease_ms)
    FIELD(str, topic)
    FIELD(u64, seq)
    FIELD(u64, time_ms)
    FIELD(u64, kind)
    FIELD(str, type)
    FIELD(bin, headers)
    FIELD(str, key)
    FIELD(bin, body)
FRAME_END(dispatch, DISPATCH)

/* After an attach: consumer still has this lease, or this call. */
FRAME_BEGIN(hold, HOLD, 86, TO_BROKER)
    FIELD(u64, consumer)
    FIELD(str, lease)
FRAME_END(hold, HOLD)

/* What became of a lease. `outcome`: 0 done; 1 not done, `delay_ms` from now somebody else may try, `reason` (at most 1024 bytes)
 * goes into its history; 2 still at it: the lease begins anew; 3 not done and never will be: to the dead letters. `consumer` 0:
 * settled by somebody who is none. `req` not 0: answered by SETTLED, when the store has kept it. */
FRAME_BEGIN(settle, SETTLE, 87, TO_BROKER)
    FIELD(u64, req)
    FIELD(u64, consumer)
    FIELD(str, lease)
    FIELD(u64, outcome)
    FIELD(u64, delay_ms)
    FIELD(str, reason)
FRAME_END(settle, SETTLE)

/* The answer to SETTLE, PURGE, REDRIVE, WITHDRAW, JOIN: `code` empty if it was done, `count` of how many. */
FRAME_BEGIN(settled, SETTLED, 88, TO_FRONTEND)
    FIELD(u64, req)
    FIELD(str, code)
    FIELD(str, message)
    FIELD(u64, count)
FRAME_END(settled, SETTLED)

/* Which queues there are on topics that match `filter`, in the order of topic and group, after (`after`, `after_group`), at most
 * `limit` (1000 at most). */
FRAME_BEGIN(queues, QUEUES, 89, TO_BROKER)
    FIELD(u64, req)
    FIELD(str, filter)
    FIELD(str, after)
    FIELD(str, after_group)
    FIELD(u64, limit)
FRAME_END(queues, QUEUES)

/* One of them: messages that wait, are leased, wait for a later moment; that are done, went to the dead letters, were evicted
 * before anybody had done them, since the group was made; the time of the oldest that is not done (0: none); its consumers on all links. */
FRAME_BEGIN(queue, QUEUE, 90, TO_FRONTEND)
    FIELD(u64, req)
    FIELD(str, topic)
    FIELD(str, group)
    FIELD(u64, n_ready)
    FIELD(u64, n_leased)
    FIELD(u64, n_delayed)
    FIELD(u64, n_done)
    FIELD(u64, n_dead)
    FIELD(u64, n_lost)
    FIELD(u64, oldest_ms)
    FIELD(u64, n_consumers)
FRAME_END(queue, QUEUE)

FRAME_BEGIN(queues_end, QUEUES_END, 91, TO_FRONTEND)
    FIELD(u64, req)
    FIELD(u64, more)
FRAME_END(queues_end, QUEUES_END)

/* What is in a queue, not done, above `seq`, at most `count`; nothing is leased by looking. Answered by PEEKED
 * and PEEK_END, or by SETTLED with the reason why not. */
FRAME_BEGIN(peek, PEEK, 92, TO_BROKER)
    FIELD(u64, req)
    FIELD(str, topic)
    FIELD(str, group)
    FIELD(u64, seq)
    FIELD(u64, count)
FRAME_END(peek, PEEK)

/* `state`: 0 ready, 1 leased, 2 waits until `until_ms` (milliseconds since 1970; of a lease: its end). */
FRAME_BEGIN(peeked, PEEKED, 93, TO_FRONTEND)
    FIELD(u64, req)
    FIELD(u64, seq)
    FIELD(u64, state)
    FIELD(u64, until_ms)
    FIELD(u64, n_deliveries)
    FIELD(u64, time_ms)
    FIELD(u64, kind)
    FIELD(str, type)
    FIELD(bin, headers)
    FIELD(str, key)
    FIELD(bin, body)
FRAME_END(peeked, PEEKED)

FRAME_BEGIN(peek_end, PEEK_END, 94, TO_FRONTEND)
    FIELD(u64, req)
    FIELD(u64, more)
FRAME_END(peek_end, PEEK_END)

/* Everything that waits in the queue counts as done. `flags`: 1 and the group itself goes. */
FRAME_BEGIN(purge, PURGE, 95, TO_BROKER)
    FIELD(u64, req)
    FIELD(str, topic)
    FIELD(str, group)
    FIELD(u64, flags)
FRAME_END(purge, PURGE)

/* The dead letters of the queue go back into it, at most `count`, 0 for all. */
FRAME_BEGIN(redrive, REDRIVE, 96, TO_BROKER)
    FIELD(u64, req)
    FIELD(str, topic)
    FIELD(str, group)
    FIELD(u64, count)
FRAME_END(redrive, REDRIVE)

/* ---- Requests and replies. ---- */

/* A client asks; one responder is to answer within `timeout_ms`. `flags`: 1 asynchronous: it is kept until a responder takes it,
 * answered at once by ACCEPTED, and its reply waits to be asked for by RESULT; one with the same `once` (at most 255 bytes) on the
 * same topic is not asked again, as long as the first or its reply is kept: ACCEPTED then names the first. */
FRAME_BEGIN(request, REQUEST, 100, TO_BROKER)
    FIELD(u64, req)
    FIELD(str, topic)
    FIELD(u64, flags)
    FIELD(u64, timeout_ms)
    FIELD(u64, kind)
    FIELD(str, type)
    FIELD(bin, headers)
    FIELD(str, key)
    FIELD(str, once)
    FIELD(bin, body)
FRAME_END(request, REQUEST)

/* An asynchronous request is kept. `id` (at most 64 bytes of letters, digits and -, not to be guessed) asks for it on any link
 * and after any restart; `expires_ms`: until when it waits for a responder, in milliseconds since 1970. */
FRAME_BEGIN(accepted, ACCEPTED, 101, TO_FRONTEND)
    FIELD(u64, req)
    FIELD(str, id)
    FIELD(u64, expires_ms)
FRAME_END(accepted, ACCEPTED)

/* The end of REQUEST or RESULT. `code` empty: the reply follows. Else there is none and will be none: no_responder, timeout,
 * responder_gone, responder_failed, canceled; of RESULT also not_found, and pending: nothing came within `wait_ms`. */
FRAME_BEGIN(replied, REPLIED, 102, TO_FRONTEND)
    FIELD(u64, req)
    FIELD(str, code)
    FIELD(str, message)
    FIELD(u64, kind)
    FIELD(str, type)
    FIELD(bin, headers)
    FIELD(bin, body)
FRAME_END(replied, REPLIED)

/* The asker of REQUEST or RESULT left; nothing more need be sent, and nothing is. */
FRAME_BEGIN(abandon, ABANDON, 103, TO_BROKER)
    FIELD(u64, req)
FRAME_END(abandon, ABANDON)

/* What became of an asynchronous request; answered by REPLIED as soon as it is known, or after `wait_ms` with pending. */
FRAME_BEGIN(result, RESULT, 104, TO_BROKER)
    FIELD(u64, req)
    FIELD(str, id)
    FIELD(u64, wait_ms)
FRAME_END(result, RESULT)

/* An asynchronous request is not wanted any more. Answered by SETTLED. */
FRAME_BEGIN(withdraw, WITHDRAW, 105, TO_BROKER)
    FIELD(u64, req)
    FIELD(str, id)
FRAME_END(withdraw, WITHDRAW)

/* A request for a responder. `call` (at most 64 bytes) is opaque; the answer is wanted within `timeout_ms`: when they are over the
 * call is, too, and what it took of the consumer's credit is free again. */
FRAME_BEGIN(call, CALL, 106, TO_FRONTEND)
    FIELD(u64, consumer)
    FIELD(str, call)
    FIELD(str, topic)
    FIELD(u64, timeout_ms)
    FIELD(u64, n_deliveries)
    FIELD(u64, kind)
    FIELD(str, type)
    FIELD(bin, headers)
    FIELD(str, key)
    FIELD(bin, body)
FRAME_END(call, CALL)

/* The responder's answer. `code` not empty: it failed; the asker gets responder_failed with `message`. `req` not 0: answered by
 * SETTLED, with call_unknown if nobody waits for this any more, or with what is wrong with the reply; the asker gets
 * responder_failed then. Nobody waits for a call of an earlier link. */
FRAME_BEGIN(reply, REPLY, 107, TO_BROKER)
    FIELD(u64, req)
    FIELD(u64, consumer)
    FIELD(str, call)
    FIELD(str, code)
    FIELD(str, message)
    FIELD(u64, kind)
    FIELD(str, type)
    FIELD(bin, headers)
    FIELD(bin, body)
FRAME_END(reply, REPLY)

/* ---- Presence. ---- */

/* A connection of the client `id` (1 .. 255 bytes) is there on `topic`, with `info`, a JSON value or empty. `member` is the frontend's
 * number for this connection there, never used again. Several connections with one id are one member; the info of the newest
 * holds. `flags`: 1 it was there before (listed again after ATTACHED, before RESUME): no join is told, unless somebody was told
 * otherwise meanwhile. Events are messages on $presence/TOPIC with the id as their key, JSON objects:
 * {"event":"join","id":...,"info":...,"count":...} (of somebody who is there: another info),
 * {"event":"leave","id":...,"count":...,"reason":"left"|"lost"|"frontend_lost"}, and where members are only counted
 * {"event":"count","count":...}. They say how things are, so that one applied twice harms nothing; they are not kept, so after
 * each RESUMED a frontend that watches asks again (WHO). `req` not 0: answered by SETTLED, `count`: how many members there are. */
FRAME_BEGIN(join, JOIN, 110, TO_BROKER)
    FIELD(u64, req)
    FIELD(u64, member)
    FIELD(str, topic)
    FIELD(str, id)
    FIELD(u64, flags)
    FIELD(bin, info)
FRAME_END(join, JOIN)

/* That connection is not there any more. `flags`: 1 it said so: it leaves at once; 0 it was lost: it may come back for a while. */
FRAME_BEGIN(leave, LEAVE, 111, TO_BROKER)
    FIELD(u64, member)
    FIELD(u64, flags)
FRAME_END(leave, LEAVE)

/* Who is there, in the order of ids, after `after`, at most `limit` (1000 at most; 0 for the count alone). After a
 * restart of the broker a link whose HELLO named an epoch is answered when the grace time is over: until then frontends are still
 * listing whom they have. */
FRAME_BEGIN(who, WHO, 112, TO_BROKER)
    FIELD(u64, req)
    FIELD(str, topic)
    FIELD(str, after)
    FIELD(u64, limit)
FRAME_END(who, WHO)

FRAME_BEGIN(present, PRESENT, 113, TO_FRONTEND)
    FIELD(u64, req)
    FIELD(str, id)
    FIELD(u64, n_connections)
    FIELD(u64, since_ms)
    FIELD(bin, info)
FRAME_END(present, PRESENT)

/* All of them as of `seq`: events with a higher one came later. `count`: how many members there are in all. `mode`: 0 nobody is
 * recorded on this topic, 1 members, 2 only how many. */
FRAME_BEGIN(who_end, WHO_END, 114, TO_FRONTEND)
    FIELD(u64, req)
    FIELD(u64, mode)
    FIELD(u64, count)
    FIELD(u64, more)
    FIELD(u64, seq)
FRAME_END(who_end, WHO_END)

/* ---- Parting. ---- */

/* The sender is about to close, will send nothing more, and waits for BYE (a second at most). */
FRAME_BEGIN(goodbye, GOODBYE, 70, BOTH)
    FIELD(str, reason)
FRAME_END(goodbye, GOODBYE)

/* Everything up to the GOODBYE was processed. */
FRAME_BEGIN(bye, BYE, 71, BOTH)
FRAME_END(bye, BYE)
