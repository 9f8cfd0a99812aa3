// SPDX-License-Identifier: Apache-2.0
// uWebSockets.js 20.30 as a publish/subscribe server: its own topic tree does the fan-out. `node uws.mjs PORT [CERTIFICATE KEY]`. The npm
// package is the one that has its binaries in it.
//     S topic            subscribes; the answer is ok
//     P topic payload    goes bare to who subscribes
import uws from '@trufflesuite/uws-js-unofficial'

// Without a binary for this version of node the package falls back to JavaScript, which nobody would want measured.
if (uws._cfg === undefined) {
  console.error('uws.mjs: there is no native uWebSockets for this node')
  process.exit(1)
}
const [S, space] = [83, 32]
const [port, cert_file_name, key_file_name] = process.argv.slice(2)
const app = cert_file_name ? uws.SSLApp({ cert_file_name, key_file_name }) : uws.App()
app.ws('/*', {
  compression: uws.DISABLED,
  idleTimeout: 0,
  maxBackpressure: 16 << 20, // as the others; what is more is lost
  maxPayloadLength: 1 << 20,
  message(ws, message) {
    const bytes = Buffer.from(message)
    if (bytes[0] === S) {
      ws.subscribe(bytes.latin1Slice(2))
      ws.send('ok')
      return
    }
    const end = bytes.indexOf(space, 2)
    app.publish(bytes.latin1Slice(2, end), bytes.subarray(end + 1), false)
  },
})
app.listen('127.0.0.1', Number(port), token => {
  if (!token) process.exit(1)
})
