// SPDX-License-Identifier: Apache-2.0
// npm's eventsource, which is a browser's EventSource for Node: node eventsource.mjs http://HOST:PORT
import { EventSource } from 'eventsource'
import { obey, tell } from './orders.mjs'

const sources = new Map()

await obey({
    open({name, path}) {
        const source = new EventSource(process.argv[2] + path)
        sources.set(name, source)
        source.onopen = () => tell('open', {name})
        source.onerror = error => tell('error', {name, code: error.code, state: source.readyState})
        source.onmessage = event => tell('message', {name, data: event.data, id: event.lastEventId})
        for (const type of ['gap', 'reset', 'recovered', 'dropped', 'state', 'closing'])
            source.addEventListener(type, event => tell('told', {name, type, data: event.data}))
    },
    close({name}) { sources.get(name).close() },
})
for (const source of sources.values())
    source.close()
