// SPDX-License-Identifier: Apache-2.0
// Stock clients in Node for the chaos driver: npm's ws with the native protocol by hand, npm's eventsource, and busbar.js on npm's ws.
//     node clients.mjs WS-URL HTTP-URL CLIENTS       CLIENTS: [{"name", "kind": "ws" | "eventsource" | "busbarjs", "filters", "since"}]
// Each line out is [name, what, ...]; orders come in as {"do": "cut" | "pub", ...}.
import { createRequire } from 'node:module'
import path from 'node:path'
import readline from 'node:readline'
import { pathToFileURL } from 'node:url'

const [wsUrl, httpUrl, source, modules] = process.argv.slice(2, 6)
const load = async name => import(pathToFileURL(createRequire(path.join(modules, 'package.json')).resolve(name)))
const { default: WebSocket } = await load('ws')
const { EventSource } = await load('eventsource')
const { connect } = await import(pathToFileURL(path.join(source, 'clients/js/busbar.js')))

const tell = (...line) => process.stdout.write(JSON.stringify(line) + '\n')
const cuts = new Map()   // name -> how its connection is torn
const publishers = new Map()

// ---- npm's ws ----

function stockWs({name, filters, since}) {
    let cursor = since
    const open = () => {
        const socket = new WebSocket(wsUrl, ['busbar.v1.json'], {handshakeTimeout: 5000, perMessageDeflate: true})
        let heard = Date.now()
        const watch = setInterval(() => {   // a server that was stopped
            if (Date.now() - heard > 8000)
                socket.terminate()
            else if (Date.now() - heard > 4000 && socket.readyState === WebSocket.OPEN)
                socket.send('{"op":"ping"}')
        }, 1000)
        cuts.set(name, () => socket.terminate())
        socket.on('open', () => socket.send(JSON.stringify({op: 'sub', id: 1, topic: filters, since: cursor})))
        socket.on('message', data => {
            const m = JSON.parse(data)
            heard = Date.now()
            if (m.op === 'msg') {
                cursor = m.cursor
                tell(name, 'msg', m.cursor, m.topic, m.data.p, m.data.n)
            } else if (m.op === 'subscribed' || m.op === 'state') {
                cursor = m.cursor
                tell(name, 'state', m.state, m.cursor, m.topics ?? [])
            } else if (m.op === 'dropped') {
                tell(name, 'dropped', m.count)
            } else if (m.op === 'error') {
                tell(name, 'error', m.code, m.message)
                socket.terminate()
            }
        })
        socket.on('error', () => {})
        socket.on('close', code => {
            clearInterval(watch)
            tell(name, 'note', `closed with ${code}`)
            setTimeout(open, 50 + Math.random() * 300)
        })
    }
    open()
}

// ---- npm's eventsource: it goes on by Last-Event-ID by itself; only what it gives up for good is begun again. ----

function stockEventSource({name, filters, since}) {
    let cursor = since
    const query = filters.map(f => 'topic=' + encodeURIComponent(f)).join('&')
    const open = () => {
        const events = new EventSource(`${httpUrl}/topics?${query}&envelope=1&since=${cursor}`)
        const note = event => { if (event.lastEventId) cursor = event.lastEventId }
        events.onmessage = event => {
            const m = JSON.parse(event.data)
            note(event)
            tell(name, 'msg', m.cursor, m.topic, m.data.p, m.data.n)
        }
        events.addEventListener('state', event => {
            const m = JSON.parse(event.data)
            note(event)
            tell(name, 'state', m.state, m.cursor, m.topics ?? [])
        })
        events.addEventListener('dropped', event => tell(name, 'dropped', JSON.parse(event.data).count))
        events.onerror = error => {
            tell(name, 'note', `error ${error.code} ${error.message}, readyState ${events.readyState}`)
            if (events.readyState === EventSource.CLOSED)
                setTimeout(open, 500)
        }
    }
    open()
}

// ---- busbar.js ----

function ours({name, filters, since, publishes}) {
    let socket
    class Kept extends WebSocket {
        constructor(...args) { super(...args, {handshakeTimeout: 5000}); socket = this }
    }
    const bus = connect(wsUrl, {WebSocket: Kept, maxDelay: 500, pingInterval: 4000, onerror: e => tell(name, 'error', e.code, e.message)})
    cuts.set(name, () => socket.terminate())
    if (publishes)
        publishers.set(name, bus)
    else
        bus.subscribe(filters, m => tell(name, 'msg', m.cursor, m.topic, m.data.p, m.data.n), {
            since,
            onstate: ({state, cursor, topics, count}) => state === 'dropped' ? tell(name, 'dropped', count) : tell(name, 'state', state, cursor, topics),
            onerror: e => tell(name, 'error', e.code, e.message),
        })
}

for (const client of JSON.parse(process.argv[6]))
    ({ws: stockWs, eventsource: stockEventSource, busbarjs: ours})[client.kind](client)

const orders = {
    cut({name}) { cuts.get(name)?.() },
    pub({name, n, topic, data}) {
        publishers.get(name).publish(topic, data).then(cursor => tell(name, 'acked', n, cursor), e => tell(name, 'nacked', n, e.code))
    },
}
for await (const line of readline.createInterface({input: process.stdin})) {
    const order = JSON.parse(line)
    orders[order.do](order)
}
process.exit(0)
