// SPDX-License-Identifier: Apache-2.0
// npm's ws, the protocol by hand: node wsclient.mjs ws://HOST:PORT [CA.pem]
import { readFileSync } from 'node:fs'
import WebSocket from 'ws'
import { obey, tell } from './orders.mjs'

const sockets = new Map()
const ca = process.argv[3] && readFileSync(process.argv[3])

await obey({
    open({name, path, protocols, deflate}) {
        const socket = new WebSocket(process.argv[2] + path, protocols, {perMessageDeflate: deflate ?? false, ca})
        sockets.set(name, socket)
        socket.on('open', () => tell('open', {name, protocol: socket.protocol, extensions: socket.extensions}))
        socket.on('message', (data, isBinary) => tell('message', {name, ...(isBinary ? {bytes: [...data]} : {text: data.toString()})}))
        socket.on('pong', data => tell('pong', {name, text: data.toString()}))
        socket.on('unexpected-response', (request, response) => tell('refused', {name, status: response.statusCode}))
        socket.on('error', error => tell('error', {name, message: error.message}))
        socket.on('close', code => tell('close', {name, code}))
    },
    send({name, text, bytes}) { sockets.get(name).send(bytes ? Buffer.from(bytes) : text) },
    ping({name, text}) { sockets.get(name).ping(text) },
    close({name}) { sockets.get(name).close(1000, 'done') },
})
for (const socket of sockets.values())
    socket.terminate()
