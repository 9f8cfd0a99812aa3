// SPDX-License-Identifier: Apache-2.0
// What a page's author writes with a stock Action Cable client, as orders; the same in Node (cable.mjs) and in a page (cablepage.mjs).
//   rails       @rails/actioncable, the current one
//   rails61     @rails/actioncable of Rails 6.1
//   anycable    @anycable/core with actioncable-v1-json
//   anycable-ext    with actioncable-v1-ext-json

/** A class of sockets with an ear at each, made of the WebSocket of Node's ws or of a browser. */
export function overheard(WebSocket, {tell, sockets}) {
    return class extends WebSocket {
        constructor(...args) {
            super(...args)
            sockets.push(this)
            tell('socket', {state: 'connecting'})
            this.addEventListener('open', () => tell('socket', {state: 'open', protocol: this.protocol}))
            this.addEventListener('close', ({code}) => tell('socket', {state: 'closed', code}))
            this.addEventListener('message', ({data}) => {
                const frame = JSON.parse(data.toString())
                if (frame.type) tell('frame', frame)
            })
        }
    }
}

/** By Rails' client. token: in the address, or (how: "sub-protocol") among the subprotocols. */
export function rails({cable, tell, Socket, address, token, how}) {
    cable.adapters.WebSocket = Socket
    const consumer = cable.createConsumer(token && how !== 'sub-protocol' ? `${address}?jid=${token}` : address)
    if (token && how === 'sub-protocol')
        consumer.addSubProtocol(`anycable-token.${token}`)
    const subscriptions = new Map()
    return {
        subscribe({name, params}) {
            subscriptions.set(name, consumer.subscriptions.create(params, {
                initialized() { tell('initialized', {name}) },
                connected(how) { tell('connected', {name, reconnected: how?.reconnected ?? false}) },
                disconnected(how) { tell('disconnected', {name, ...how}) },
                rejected() { tell('rejected', {name}) },
                received(data) { tell('received', {name, data}) },
            }))
        },
        subscribe_many({n, channel}) {
            for (let i = 0; i < n; i++)
                this.subscribe({name: `s${i}`, params: {channel, room: i}})
        },
        perform({name, action, data}) { subscriptions.get(name).perform(action, data) },
        send({name, data}) { subscriptions.get(name).send(data) },
        unsubscribe({name}) { subscriptions.get(name).unsubscribe() },
        // Stale sooner, so that a test need not wait so long: as an application may set it.
        impatient({seconds}) {
            const monitor = consumer.connection.monitor.constructor
            monitor.staleThreshold = seconds
            if (monitor.pollInterval) // Rails 6.1
                monitor.pollInterval = {min: 0.5, max: 1, multiplier: 1}
        },
        disconnect() { consumer.disconnect() },
    }
}

/** By AnyCable's. */
export function anycable({createCable, tell, Socket, sockets, address, kind, token, how}) {
    let cable
    let refreshed
    const channels = new Map()
    function begin(options = {}) {
        cable = createCable(address, {
            protocol: kind === 'anycable' ? 'actioncable-v1-json' : 'actioncable-v1-ext-json',
            websocketImplementation: Socket, logLevel: 'error', reconnectStrategy: () => 100,
            ...(token ? {auth: {token}, websocketAuthStrategy: how} : {}),
            tokenRefresher: async transport => { tell('refresh'); transport.setToken(await new Promise(resolve => { refreshed = resolve })) },
            ...options})
        for (const event of ['connect', 'disconnect', 'close', 'info'])
            cable.on(event, e => tell('cable', {state: event, reason: e?.reason, restored: e?.restored, reconnect: e?.reconnect}))
    }
    function watch(name, channel) {
        channels.set(name, channel)
        channel.on('connect', e => tell('connected', {name, ...e}))
        channel.on('disconnect', e => tell('disconnected', {name, reason: e?.reason}))
        channel.on('close', e => tell(e?.reason === 'rejected' || e?.name === 'SubscriptionRejectedError' ? 'rejected' : 'closed',
            {name, reason: e?.reason}))
        channel.on('message', (data, meta) => tell('received', {name, data, meta}))
        channel.on('presence', event => tell('presence', {name, ...event}))
        channel.on('info', info => tell('info', {name, ...info}))
    }
    return {
        impatient({seconds}) { begin({pingInterval: seconds * 500}) },
        subscribe_many({n, channel}) {
            for (let i = 0; i < n; i++)
                this.subscribe({name: `s${i}`, params: {channel, room: i}})
        },
        subscribe({name, params}) {
            if (!cable) begin()
            const {channel, ...rest} = params
            watch(name, channel === '$pubsub' && rest.stream_name !== undefined ? cable.streamFrom(rest.stream_name)
                : channel === '$pubsub' ? cable.streamFromSigned(rest.signed_stream_name) : cable.subscribeTo(channel, rest))
        },
        perform({name, action, data}) { channels.get(name).perform(action, data).catch(e => tell('failed', {name, message: e.message})) },
        whisper({name, data}) { channels.get(name).whisper(data) },
        join({name, id, info}) { channels.get(name).presence.join(id, info) },
        leave({name}) { channels.get(name).presence.leave() },
        async who({name}) {
            try {
                tell('who', {name, there: await channels.get(name).presence.info()})
            } catch (e) {
                tell('failed', {name, message: e.message})
            }
        },
        unsubscribe({name}) { channels.get(name).disconnect() },
        token({token}) { refreshed(token) },
        cut() { sockets.at(-1).terminate ? sockets.at(-1).terminate() : sockets.at(-1).close() },
        disconnect() { cable.disconnect() },
    }
}
