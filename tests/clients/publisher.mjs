// SPDX-License-Identifier: Apache-2.0
// AnyCable's stock publisher for JavaScript: node publisher.mjs http://HOST:PORT/_broadcast KEY
import { obey, tell } from './orders.mjs'

// By its file: what the package exports needs a bundler.
const { broadcaster } = await import('./node_modules/@anycable/serverless-js/dist/broadcast/index.js')
const [, , address, key] = process.argv
const broadcast = broadcaster(address, key)

await obey({
    async broadcast({stream, data}) {
        await broadcast(stream, data).then(() => tell('broadcast', {stream}), error => tell('failed', {stream, message: error.message}))
    },
})
