// SPDX-License-Identifier: Apache-2.0
// The npm package ws as most people use it: a map of topics to sets of sockets. `node ws.mjs PORT`; it speaks what uws.mjs
// does.
import {WebSocketServer} from 'ws'

const [S, space] = [83, 32]
const topics = new Map()
new WebSocketServer({host: '127.0.0.1', port: Number(process.argv[2]), backlog: 4096}).on('connection', ws => {
  const mine = new Set()
  ws.on('message', bytes => {
    if (bytes[0] === S) {
      const topic = bytes.latin1Slice(2)
      if (!topics.has(topic)) topics.set(topic, new Set())
      topics.get(topic).add(ws)
      mine.add(topic)
      ws.send('ok')
      return
    }
    const end = bytes.indexOf(space, 2)
    const payload = bytes.latin1Slice(end + 1)
    for (const subscriber of topics.get(bytes.latin1Slice(2, end)) ?? []) subscriber.send(payload)
  })
  ws.on('close', () => mine.forEach(topic => topics.get(topic).delete(ws)))
})
