// SPDX-License-Identifier: Apache-2.0
// The other end of nodes.py: events out, orders in, one JSON object a line.
import readline from 'node:readline'

export function tell(event, fields = {}) {
    process.stdout.write(JSON.stringify({event, ...fields}) + '\n')
}

/** Carries out orders with the functions given until the input ends. */
export async function obey(functions) {
    for await (const line of readline.createInterface({input: process.stdin})) {
        const order = JSON.parse(line)
        await functions[order.do](order)
    }
}
