// SPDX-License-Identifier: Apache-2.0
/**
 * The JavaScript client of Busbar, for browsers and Node: one module, no dependencies.
 *
 *     import { connect } from '/busbar.js'
 *
 *     const bus = connect('ws://127.0.0.1:8081/ws')
 *     bus.subscribe('chat/#', message => console.log(message.topic, message.data), {last: 20})
 *     await bus.publish('chat/room1', {text: 'hello'})
 *
 *     bus.respond('svc/add', ({data}) => data.a + data.b)          // anywhere
 *     const {data} = await bus.request('svc/add', {a: 1, b: 2})
 *     bus.consume('jobs/mail', 'workers', async job => await send(job.data))
 *
 * It reconnects by itself, with growing delays, and every subscription goes on from the cursor of the last
 * message that it saw. What could not be made good is told: see `onstate` in subscribe().
 */

const OPEN = 1
/** A server that says nothing for this long after a ping is gone (ms). */
const PONG_TIMEOUT = 10_000
/** Errors that another moment may not give: what they answer is asked again after PUT_OFF ms times 0.5 to 1. */
const PUT_OFF = 1000
const PASSING = new Set(['unavailable', 'timeout', 'shutting_down'])

/** What the server answered instead of doing it: `code` from the table in docs/protocol.md. */
export class BusError extends Error {
    constructor(code, message) {
        super(message)
        this.name = 'BusError'
        this.code = code
    }
}

/**
 * Connects, now and again whenever the connection is lost, until close().
 *
 * options:
 *   WebSocket      the constructor to use where there is no global one (Node before 22: `ws`)
 *   protocols      subprotocols, ['busbar.v1.json'] unless given
 *   minDelay       first delay before a reconnection, ms (200)
 *   maxDelay       longest delay, ms (10000); each is multiplied by a random 0.5 to 1
 *   pingInterval   silence after which the client asks whether the server is there, ms (25000)
 *   maxPending     publishes that may wait for a connection or an answer (1000), and
 *   maxPendingSize how long they may be together, in characters as they are sent (16 Mi)
 *   onstate        called with 'connecting', 'open', 'waiting' or 'closed' and what is known of why
 *   onerror        called with a BusError that belongs to no call
 */
export function connect(url, options = {}) {
    return new Bus(url, options)
}

class Bus {
    #url
    #options
    #WebSocket
    #socket = null
    #subscriptions = new Map()   // id -> Subscription
    #pending = new Map()         // id -> a publish that waits for its answer
    #pendingSize = 0
    #asks = new Map()            // id -> a request that is never sent twice by itself
    #nextId = 1
    #attempts = 0
    #timer = null
    #pingTimer = null
    #againTimer = null
    #putOff = new Set()          // subscriptions that are asked for again with it
    #isClosed = false
    #closing = null              // why the server closes, from its own mouth
    #state = 'connecting'
    // Makes a repeated publish recognisable: the server appends one key once.
    #oncePrefix = Math.random().toString(36).slice(2, 10) + Date.now().toString(36)

    constructor(url, options) {
        this.#url = url
        this.#options = {minDelay: 200, maxDelay: 10_000, pingInterval: 25_000, maxPending: 1000, maxPendingSize: 2 ** 24,
            protocols: ['busbar.v1.json'], ...options}
        this.#WebSocket = options.WebSocket ?? globalThis.WebSocket
        if (!this.#WebSocket)
            throw new TypeError('no WebSocket here: pass one, as in connect(url, {WebSocket: (await import("ws")).default})')
        this.#open()
    }

    /** 'connecting', 'open', 'waiting' (before the next attempt) or 'closed'. */
    get state() { return this.#state }

    /**
     * Calls onmessage with {topic, cursor, data, time, type, key, headers, retained} for each message that matches; binary data is a
     * Uint8Array. `topic` may be an array of filters: they share one order and one cursor.
     *
     * options:
     *   since     a cursor: first everything after it, then live
     *   last      or: the last so many messages of each topic first
     *   onstate   called with {state, cursor, topics} each time that the server says where the stream stands: 'live' and
     *             'recovered': nothing is missing; 'gap': messages of `topics` are gone; 'reset': the server lost its
     *             history, the old cursor is void; 'dropped': `count` messages were thrown away, because this
     *             client reads too slowly
     *   onerror   called with a BusError if the subscription was refused; it then ends
     *   presence  {id, info}: be there on the topic as this member; true: only see who is
     *   onpresence  called with {topic, event, ...}: 'snapshot' with `members` and `count`, then 'join' and 'leave' with `id`,
     *             `info` and `count`, or 'count' alone where the topic keeps no names
     */
    subscribe(topic, onmessage, options = {}) {
        const subscription = new Subscription(this, this.#nextId++, topic, onmessage, options)
        this.#subscriptions.set(subscription.id, subscription)
        this.#send(subscription.request_())
        return subscription
    }

    /**
     * Publishes and resolves with the message's cursor once the server has it. Through lost connections the publish is
     * repeated with one idempotency key, so that it is appended once.
     *
     * options: retain, type, headers, key (what it is the value of; subscribers get it), once (an idempotency key of your
     * own; if only key is given, that is one too, unless the topic conflates), ttl and delay in ms. data: any JSON value; a
     * string is text; a Uint8Array or ArrayBuffer is binary. With a delay it resolves with undefined: the message has no
     * cursor yet.
     */
    publish(topic, data, options = {}) {
        if (this.#isClosed)
            return Promise.reject(new BusError('closed', 'this connection was closed by close()'))
        if (this.#pending.size >= this.#options.maxPending)
            return Promise.reject(new BusError('limit_reached', `${this.#pending.size} publishes wait already`))
        const id = this.#nextId++
        const request = {op: 'pub', id, topic, ...payload(data),
            ...pick(options, ['key', 'once', 'retain', 'type', 'headers', 'ttl', 'delay'])}
        if (options.key === undefined)
            request.once ??= `${this.#oncePrefix}-${id}`
        const text = JSON.stringify(request)
        if (this.#pendingSize + text.length > this.#options.maxPendingSize)
            return Promise.reject(new BusError('limit_reached', `${this.#pending.size} publishes of ${this.#pendingSize} characters wait already`))
        this.#pendingSize += text.length
        return new Promise((resolve, reject) => {
            this.#pending.set(id, {text, resolve, reject})
            this.#sendText(text)
        })
    }

    /**
     * Asks whoever responds on this topic and resolves with {data, type, headers}. Rejects with a BusError: no_responder,
     * timeout, responder_gone, responder_failed; `unavailable` if the connection was lost meanwhile: whether it was done is then
     * not known, and it is not asked again.
     *
     * options: timeout (ms), type, headers, key.
     */
    request(topic, data, options = {}) {
        return this.#ask({op: 'request', topic, ...payload(data), ...pick(options, ['timeout', 'type', 'headers', 'key'])})
            .then(content)
    }

    /**
     * Leaves a request for whoever will respond on this topic, now or later. Resolves with its id: any client asks for the reply
     * by result(id), or by HTTP at /requests/id/ID.
     *
     * options: type, headers, key, once (an idempotency key: asked again with it, it is the same request).
     */
    requestLater(topic, data, options = {}) {
        return this.#ask({op: 'request', async: true, topic, ...payload(data), ...pick(options, ['type', 'headers', 'key', 'once'])})
            .then(answer => answer.request)
    }

    /** The reply to such a request, waited for up to `wait` ms; undefined if there is none yet. Rejects if there will be none. */
    result(id, {wait = 0} = {}) {
        return this.#ask({op: 'result', request: id, wait}).then(content,
            error => error.code === 'pending' ? undefined : Promise.reject(error))
    }

    /** Takes such a request back. */
    cancel(id) { return this.#ask({op: 'cancel', request: id}).then(() => {}) }

    /**
     * Answers requests on a topic or filter: handler({topic, data, type, headers, key, timeout}) returns the reply's data, or a
     * promise of it, or a Reply with more; what it throws is told to the asker. options: prefetch, group, onerror.
     */
    respond(filter, handler, options = {}) {
        const settle = (call, answer) => this.#send({op: 'reply', call, ...answer})
        return this.#work(filter, {respond: true, ...pick(options, ['group', 'prefetch'])}, options, async work => {
            const {call, ...request} = work
            try {
                const reply = await handler(request)
                const {data, ...more} = reply instanceof Reply ? reply : {data: reply}
                settle(call, {...payload(data), ...more})
            } catch (error) {
                settle(call, {error: String(error?.message ?? error)})
            }
        })
    }

    /**
     * Takes work from a queue as a member of the group. handler({topic, cursor, data, key, deliveries, lease, ...}): when it
     * returns (or its promise is kept) the message is done; when it throws, somebody else gets it, after error.delay ms if there
     * is such a thing. options: prefetch, onerror.
     */
    consume(topic, group, handler, options = {}) {
        return this.#work(topic, {group, ...pick(options, ['prefetch'])}, options, async work => {
            try {
                await handler(work)
                this.#send({op: 'ack', lease: work.lease})
            } catch (error) {
                this.#send({op: 'nack', lease: work.lease, delay: error?.delay ?? 0, reason: String(error?.message ?? error)})
            }
        })
    }

    /** More time for a lease that consume() gave. */
    extend(lease) { return this.#ask({op: 'extend', lease}).then(() => {}) }

    #work(filter, more, options, onwork) {
        const subscription = new Subscription(this, this.#nextId++, filter, onwork, options, more)
        this.#subscriptions.set(subscription.id, subscription)
        this.#send(subscription.request_())
        return subscription
    }

    // Sent once: at once, or when there is a connection.
    #ask(request) {
        if (this.#isClosed)
            return Promise.reject(new BusError('closed', 'this connection was closed by close()'))
        if (this.#asks.size >= this.#options.maxPending)
            return Promise.reject(new BusError('limit_reached', `${this.#asks.size} requests wait already`))
        const id = this.#nextId++
        const text = JSON.stringify({...request, id})
        return new Promise((resolve, reject) => {
            this.#asks.set(id, {text, isSent: this.#sendText(text), resolve, reject})
        })
    }

    #failAsks(error, which) {
        for (const [id, ask] of this.#asks)
            if (which(ask) && this.#asks.delete(id))
                ask.reject(error)
    }

    /** Ends everything; publishes and requests without an answer are rejected. */
    close() {
        if (this.#isClosed)
            return
        this.#isClosed = true
        clearTimeout(this.#timer)
        clearTimeout(this.#pingTimer)
        this.#forgetPutOff()
        const error = new BusError('closed', 'this connection was closed by close()')
        for (const {reject} of this.#pending.values())
            reject(error)
        this.#pending.clear()
        this.#failAsks(error, () => true)
        this.#subscriptions.clear()
        this.#socket?.close(1000)
        this.#tell('closed')
    }

    unsubscribe_(subscription) {
        if (this.#subscriptions.delete(subscription.id))
            this.#send({op: 'unsub', id: subscription.id})
    }

    #open() {
        this.#tell('connecting')
        const socket = new this.#WebSocket(this.#url, this.#options.protocols)
        this.#socket = socket
        socket.onopen = () => {
            this.#tell('open')
            for (const subscription of this.#subscriptions.values())
                this.#send(subscription.request_())
            for (const {text} of this.#pending.values())
                this.#sendText(text)
            for (const ask of this.#asks.values())
                ask.isSent = this.#sendText(ask.text)
            this.#listen()
        }
        socket.onmessage = event => {
            if (socket !== this.#socket)
                return
            this.#attempts = 0
            this.#listen()
            this.#receive(JSON.parse(event.data))
        }
        socket.onerror = () => {}   // onclose follows and says more
        socket.onclose = event => {
            if (socket === this.#socket)
                this.#lost(this.#closing || event.reason || `closed with ${event.code}`)
        }
    }

    // Full jitter between half and the whole of a doubling delay: a thousand browsers do not come back in one instant.
    #lost(reason) {
        clearTimeout(this.#pingTimer)
        this.#forgetPutOff()
        this.#socket = null
        this.#closing = null
        if (this.#isClosed)
            return
        this.#failAsks(new BusError('unavailable', 'the connection was lost before the answer came'), ask => ask.isSent)
        const {minDelay, maxDelay} = this.#options
        const delay = Math.min(maxDelay, minDelay * 2 ** Math.min(this.#attempts++, 16)) * (0.5 + Math.random() / 2)
        this.#tell('waiting', reason)
        this.#timer = setTimeout(() => this.#open(), delay)
    }

    // A browser cannot send a WebSocket ping, so silence is broken by one of the protocol's own.
    #listen() {
        clearTimeout(this.#pingTimer)
        this.#pingTimer = setTimeout(() => {
            this.#send({op: 'ping'})
            this.#pingTimer = setTimeout(() => {
                const socket = this.#socket
                this.#lost('no answer to a ping')
                socket?.close()
            }, PONG_TIMEOUT)
        }, this.#options.pingInterval)
        this.#pingTimer?.unref?.()
    }

    #send(request) { this.#sendText(JSON.stringify(request)) }

    #sendText(text) {
        const isOpen = this.#socket?.readyState === OPEN
        if (isOpen)
            this.#socket.send(text)
        return isOpen
    }

    // The publish with this id, which then waits no longer; undefined if there is none.
    #take(id) {
        const publish = this.#pending.get(id)
        if (this.#pending.delete(id))
            this.#pendingSize -= publish.text.length
        return publish
    }

    #takeAsk(id) {
        const ask = this.#asks.get(id)
        this.#asks.delete(id)
        return ask
    }

    #tell(state, reason) {
        this.#state = state
        this.#options.onstate?.(state, reason)
    }

    #receive(message) {
        const subscription = this.#subscriptions.get(message.sub ?? message.id)
        switch (message.op) {
        case 'msg':
        case 'request':
            subscription?.deliver_(message)
            break
        case 'presence':
            subscription?.present_(message)
            break
        case 'reply':
        case 'accepted':
        case 'canceled':
        case 'acked':
        case 'nacked':
        case 'extended':
            this.#takeAsk(message.id)?.resolve(message)
            break
        case 'subscribed':
        case 'state':
            subscription?.told_(message)
            break
        case 'published':
            this.#take(message.id)?.resolve(message.cursor)
            break
        case 'dropped':
            this.#dropped(message)
            break
        case 'error':
            this.#refused(message, subscription)
            break
        case 'closing':
            this.#closing = message.message
            break
        }
    }

    // Answers that waited in the server's queue may be gone with the messages: what has none is asked again.
    #dropped(message) {
        clearTimeout(this.#againTimer)
        this.#again()
        for (const subscription of [...this.#subscriptions.values()])
            if (message.sub === undefined || message.sub === subscription.id)
                subscription.told_({state: 'dropped', cursor: subscription.cursor, topics: [], count: message.count})
    }

    #forgetPutOff() {
        clearTimeout(this.#againTimer)
        this.#againTimer = null
        this.#putOff.clear()
    }

    // What the server put off; the keys of publishes make more of it harmless.
    #again() {
        this.#againTimer = null
        for (const subscription of this.#putOff)
            if (this.#subscriptions.has(subscription.id))
                this.#send(subscription.request_())
        this.#putOff.clear()
        for (const {text} of this.#pending.values())
            this.#sendText(text)
    }

    #refused(message, subscription) {
        const ask = this.#takeAsk(message.id)
        if (ask) {
            ask.reject(new BusError(message.code, message.message))
            return
        }
        if (message.id !== undefined && PASSING.has(message.code)) {
            if (subscription)
                this.#putOff.add(subscription)
            this.#againTimer ??= setTimeout(() => this.#again(), PUT_OFF * (0.5 + Math.random() / 2))
            return
        }
        const error = new BusError(message.code, message.message)
        const publish = this.#take(message.id)
        if (publish) {
            publish.reject(error)
        } else if (subscription) {
            this.#subscriptions.delete(subscription.id)
            subscription.refused_(error)
        } else if (message.id === undefined) {
            this.#options.onerror?.(error)
        }
    }
}

/** What a responder may return to say more than the data: new Reply(data, {type, headers}). */
export class Reply {
    constructor(data, {type, headers} = {}) {
        this.data = data
        if (type !== undefined)
            this.type = type
        if (headers !== undefined)
            this.headers = headers
    }
}

class Subscription {
    #bus
    #onmessage
    #options
    #filters
    #more   // of a responder or a consumer: what its request says beside the topic

    constructor(bus, id, filters, onmessage, options, more = null) {
        this.#bus = bus
        this.id = id
        this.#filters = filters
        this.#onmessage = onmessage
        this.#options = options
        this.#more = more
        /** Where this stream is: give it as `since` later, here or on any other transport. */
        this.cursor = options.since
        this.state = 'pending'
    }

    unsubscribe() { this.#bus.unsubscribe_(this) }

    request_() {
        const request = {op: 'sub', id: this.id, topic: this.#filters}
        if (this.#more)   // work is kept for the group, not by a cursor of ours
            return {...request, ...this.#more}
        if (this.#options.presence !== undefined)
            request.presence = this.#options.presence
        if (this.cursor !== undefined)
            request.since = this.cursor
        else if (this.#options.last !== undefined)
            request.last = this.#options.last
        return request
    }

    deliver_(message) {
        const {topic, cursor, time, type, key, headers, retained} = message
        const data = message.encoding === 'base64' ? fromBase64(message.data) : message.data
        if (this.#more) {
            const {call, timeout, lease, deliveries, expires} = message
            this.#onmessage({topic, data, type, headers, key,
                ...(call === undefined ? {cursor, time, lease, deliveries, expires} : {call, timeout})})
            return
        }
        if (!retained)   // a kept value is old: it does not move the stream
            this.cursor = cursor
        this.#onmessage({topic, cursor, data, time, type, key, headers, retained: retained === true})
    }

    present_({topic, data}) { this.#options.onpresence?.({topic, ...data}) }

    told_({state, cursor, topics, count}) {
        if (state !== 'dropped')
            this.state = state
        this.cursor = cursor ?? this.cursor
        this.#options.onstate?.({state, cursor: this.cursor, topics: topics ?? [], ...(count !== undefined && {count})})
    }

    refused_(error) {
        this.state = 'refused'
        this.#options.onerror?.(error)
    }
}

/** A payload as a request carries it. */
function payload(data) {
    if (data instanceof ArrayBuffer)
        data = new Uint8Array(data)
    if (data instanceof Uint8Array)
        return {data: toBase64(data), encoding: 'base64'}
    return {data: data === undefined ? null : data}
}

/** And out of an answer. */
function content({data, encoding, type, headers}) {
    return {data: encoding === 'base64' ? fromBase64(data) : data, type, headers}
}

/** Those of the options that were given. */
function pick(options, names) {
    return Object.fromEntries(names.filter(name => options[name] !== undefined).map(name => [name, options[name]]))
}

function toBase64(bytes) {
    let text = ''
    for (let i = 0; i < bytes.length; i += 0x8000)
        text += String.fromCharCode(...bytes.subarray(i, i + 0x8000))
    return btoa(text)
}

function fromBase64(text) {
    return Uint8Array.from(atob(text), c => c.charCodeAt(0))
}
