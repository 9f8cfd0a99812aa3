// SPDX-License-Identifier: Apache-2.0
import { consumer, showState } from './cable.js'

const log = document.getElementById('log')

// Rails knows by the cookie whose stream it is; the bus by the name that Rails has signed.
consumer.subscriptions.create({channel: 'WebNotificationsChannel', stream: log.dataset.stream}, {
    connected() { showState('connected') },
    disconnected() { showState('waiting for the server') },
    rejected() { showState('rejected') },
    received({title, body}) {
        const line = document.createElement('li')
        line.append(Object.assign(document.createElement('b'), {textContent: title}), ` ${body}`)
        log.append(line)
    },
})
