// SPDX-License-Identifier: Apache-2.0
import { consumer, showState } from './cable.js'

const log = document.getElementById('log')
let early = null   // what came while the history was fetched

function show(message) {
    const line = document.createElement('li')
    if (message?.body !== undefined) {   // from a page or from Rails
        line.append(Object.assign(document.createElement('b'), {textContent: message.sent_by ?? 'somebody'}), ` ${message.body}`)
        line.classList.toggle('by-rails', message.by_rails === true)
    } else {   // anything else on the topic: from nc, busbar pub, a device
        line.textContent = typeof message === 'string' ? message : JSON.stringify(message)
    }
    log.append(line)
    line.scrollIntoView({block: 'nearest'})
}

// After each connection the log is drawn anew from the bus: what was said while we were away is there too.
async function draw() {
    early = []
    let history = []
    try {
        history = (await (await fetch(log.dataset.history)).json()).messages.map(m => m.data)
    } catch (error) {
        console.warn('no history:', error)
    }
    const known = history.map(m => JSON.stringify(m))
    log.replaceChildren()
    history.forEach(show)
    for (const message of early) {
        const at = known.indexOf(JSON.stringify(message))
        if (at >= 0)
            known.splice(at, 1)
        else
            show(message)
    }
    early = null
    showState('connected')
}

const room = consumer.subscriptions.create({channel: 'ChatChannel', room: log.dataset.room}, {
    connected: draw,
    disconnected() { showState('waiting for the server') },
    rejected() { showState('rejected') },
    received(message) { early ? early.push(message) : show(message) },
})

document.getElementById('speak').addEventListener('submit', event => {
    event.preventDefault()
    room.perform('speak', {sent_by: document.body.dataset.user, body: event.target.body.value})
    event.target.reset()
})
