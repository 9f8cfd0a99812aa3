// SPDX-License-Identifier: Apache-2.0
// Stock Action Cable clients in Node: node cable.mjs ws://HOST:PORT/cable KIND [OPTIONS]; cableclients.mjs says of which kinds.
import { createRequire } from 'node:module'
import WebSocket from 'ws'
import { anycable, overheard, rails } from './cableclients.mjs'
import { obey, tell } from './orders.mjs'

const [, , address, kind, options] = process.argv
// {"headers": what a browser would add, "token": in the address, or (how: "sub-protocol") among the subprotocols}
const {headers = {}, token, how} = JSON.parse(options ?? '{}')
const sockets = []

class WithHeaders extends WebSocket {
    constructor(url, protocols, options) {
        super(url, protocols, {...options, headers: {...options?.headers, ...headers}})
    }
}
const common = {Socket: overheard(WithHeaders, {tell, sockets}), tell, sockets, address, kind, token, how}

if (kind.startsWith('rails')) {
    // What they expect of a browser when they are loaded.
    globalThis.self ??= globalThis
    globalThis.addEventListener ??= () => {}
    globalThis.removeEventListener ??= () => {}
    globalThis.document ??= {visibilityState: 'visible', addEventListener() {}, removeEventListener() {}}
    const cable = createRequire(import.meta.url)(kind === 'rails' ? '@rails/actioncable' : 'actioncable61')
    await obey(rails({...common, cable}))
} else {
    const { createCable } = await import('@anycable/core')
    await obey(anycable({...common, createCable}))
}
for (const socket of sockets)
    socket.terminate()
process.exit(0)
