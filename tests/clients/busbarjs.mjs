// SPDX-License-Identifier: Apache-2.0
// clients/js in Node: node busbarjs.mjs ws://HOST:PORT/ws
import WebSocket from 'ws'
import { connect } from '../../clients/js/busbar.js'
import { obey, tell } from './orders.mjs'

const bus = connect(process.argv[2], {
    WebSocket, minDelay: 20, maxDelay: 200,
    onstate(state, reason) { tell('connection', {state, reason}) },
    onerror(error) { tell('error', {code: error.code}) },
})
const subscriptions = new Map()
const plain = data => data instanceof Uint8Array ? {bytes: [...data]} : data

await obey({
    sub({name, topic, options}) {
        subscriptions.set(name, bus.subscribe(topic, message => tell('message', {sub: name, ...message, data: plain(message.data)}), {
            ...options,
            onstate(state) { tell('stream', {sub: name, ...state}) },
            onerror(error) { tell('refused', {sub: name, code: error.code}) },
        }))
    },
    unsub({name}) { subscriptions.get(name).unsubscribe() },
    pub({topic, data, bytes, options}) {
        bus.publish(topic, bytes ? Uint8Array.from(bytes) : data, options)
            .then(cursor => tell('published', {data, cursor}), error => tell('failed', {data, code: error.code}))
    },
})
bus.close()
