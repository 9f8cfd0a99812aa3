// SPDX-License-Identifier: Apache-2.0
// busbar.js beyond publish and subscribe: node jspatterns.mjs PATH-OF-BUSBAR.JS ws://HOST:PORT/ws
import { WebSocket } from 'ws'
import { obey, tell } from './orders.mjs'

const [path, url] = process.argv.slice(2)
const { connect, Reply } = await import(path)
const buses = new Map()
const bus = name => {
    if (!buses.has(name))
        buses.set(name, connect(url, {WebSocket, minDelay: 20, maxDelay: 100}))
    return buses.get(name)
}
const extends_ = []

await obey({
    respond({name, topic}) {
        bus(name).respond(topic, async ({topic, data, headers, key}) => {
            if (data === 'fail')
                throw new Error('as you wish')
            if (data === 'never')
                await new Promise(() => {})
            return new Reply({topic, data, key, by: name}, {headers})
        }, {prefetch: 4, onerror: error => tell('refused', {code: error.code})})
    },
    request({name, id, topic, data, options}) {
        bus(name).request(topic, data, options).then(reply => tell('reply', {id, ...reply}),
            error => tell('failed', {id, code: error.code, message: error.message}))
    },
    later({name, id, topic, data}) {
        bus(name).requestLater(topic, data).then(request => tell('left', {id, request}), error => tell('failed', {id, code: error.code}))
    },
    result({name, id, request, wait}) {
        bus(name).result(request, {wait}).then(reply => tell('result', {id, reply: reply ?? null}),
            error => tell('failed', {id, code: error.code}))
    },
    cancel({name, id, request}) {
        bus(name).cancel(request).then(() => tell('canceled', {id}), error => tell('failed', {id, code: error.code}))
    },
    consume({name, topic, group}) {
        bus(name).consume(topic, group, async ({data, deliveries, lease}) => {
            if (data === 'slow') {
                await bus(name).extend(lease)
                tell('extended')
            }
            if (data === 'poison' || (data === 'again' && deliveries === 1))
                throw Object.assign(new Error('not now'), {delay: 10})
            tell('done', {data, deliveries, by: name})
        }, {prefetch: 2})
    },
    present({name, topic, presence}) {
        bus(name).subscribe(topic, () => {}, {presence, onpresence: event => tell('presence', {at: name, ...event, what: event.event, event: 'presence'})})
    },
    publish({name, id, topic, data, options}) {
        bus(name).publish(topic, data, options).then(cursor => tell('published', {id, cursor: cursor ?? null}),
            error => tell('failed', {id, code: error.code}))
    },
    close({name}) {
        buses.get(name).close()
        buses.delete(name)
    },
})
for (const b of buses.values())
    b.close()
