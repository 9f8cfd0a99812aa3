// SPDX-License-Identifier: Apache-2.0
// The live page: joins a topic through the JavaScript client, as any page would.
import { connect } from '/busbar.js'

const $ = id => document.getElementById(id)
const MAX_LINES = 500
const MAX_KEPT = 100          // messages that a reload shows again
const MAX_KEPT_LENGTH = 2000  // of one of them
const STATES = {
    live: 'live', recovered: 'recovered: nothing was missed', gap: 'some messages were no longer kept',
    reset: 'the server started anew: older messages are gone', dropped: 'too much at once: some messages were left out',
}

const where = await (await fetch('/console.json')).json()
const host = location.hostname
// A page that came encrypted may not open a connection that is not.
const websocket = (location.protocol === 'https:' && where.websocket_tls || where.websocket).replace('{host}', host)
const tcp = where.tcp.replace('{host}', host)
let subscription = null

const bus = connect(websocket, {
    onstate(state, reason) {
        $('connection').value = reason ? `${state}: ${reason}` : state
        $('connection').dataset.state = state
    },
    onerror(error) { notice(error.message) },
})

// A reload shows what the page showed and goes on from there: messages and cursor are kept together, for as long as the
// tab lives.
let kept = {topic: null, cursor: null, messages: []}
let saveTimer = null

function restore() {
    try {
        kept = {...kept, ...JSON.parse(sessionStorage.getItem('busbar'))}
    } catch {
        sessionStorage.removeItem('busbar')
    }
}

function save() {
    clearTimeout(saveTimer)
    saveTimer = null
    try {
        sessionStorage.setItem('busbar', JSON.stringify(kept))
    } catch {
        kept.messages = []    // too much for the browser: the cursor matters more
    }
}

function keep(message, shown) {
    if (message) {
        const {topic, time} = message
        kept.messages.push({topic, time, data: shown.slice(0, MAX_KEPT_LENGTH)})
        kept.messages.splice(0, kept.messages.length - MAX_KEPT)
    }
    kept.cursor = subscription?.cursor ?? kept.cursor
    saveTimer ??= setTimeout(save, 200)
}
addEventListener('pagehide', save)

function join(topic, since) {
    subscription?.unsubscribe()
    $('messages').replaceChildren()
    $('state').textContent = ''
    if (!since)
        kept = {topic, cursor: null, messages: []}
    for (const message of kept.messages)
        line(message, message.data)
    subscription = bus.subscribe(topic, message => {
        const shown = text(message.data)
        line(message, shown)
        keep(message, shown)
    }, {
        ...(since ? {since} : {last: 20}),
        onstate({state, topics}) {
            $('state').textContent = `${topic}: ${STATES[state] ?? state}` + (topics.length ? ` (${topics.join(', ')})` : '')
            $('state').dataset.state = state
            keep()
        },
        onerror(error) { notice(error.message) },
    })
    terminal(topic)
}

function text(data) {
    return typeof data === 'string' ? data : data instanceof Uint8Array ? `${data.length} bytes` : JSON.stringify(data)
}

function line({topic, time}, shown) {
    const item = document.createElement('li')
    const from = document.createElement('span')
    const data = document.createElement('span')
    from.className = 'from'
    from.textContent = `${new Date(time ?? Date.now()).toLocaleTimeString()} ${topic}`
    data.className = 'data'
    data.textContent = shown
    item.append(from, data)
    put(item)
}

function notice(text) {
    const item = document.createElement('li')
    item.className = 'notice'
    item.textContent = text
    put(item)
}

function put(item) {
    const list = $('messages')
    const isAtEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40
    list.append(item)
    while (list.children.length > MAX_LINES)
        list.firstChild.remove()
    if (isAtEnd)
        list.scrollTop = list.scrollHeight
}

// What to paste into a shell, safe for any topic.
const quoted = text => `'${text.replaceAll("'", `'\\''`)}'`
function terminal(topic) {
    const path = topic.split('/').map(encodeURIComponent).join('/')
    const target = topic.includes('+') || topic.includes('#') ? 'chat/room1' : path
    const [tcpHost, tcpPort] = [tcp.slice(0, tcp.lastIndexOf(':')), tcp.slice(tcp.lastIndexOf(':') + 1)]
    $('line-nc').textContent = `echo ${quoted(JSON.stringify({op: 'sub', id: 1, topic}))} | nc ${tcpHost} ${tcpPort}`
    $('line-curl-pub').textContent = `curl -d 'hello from curl' ${quoted(`${location.origin}/topics/${target}`)}`
    $('line-curl-sub').textContent = `curl -N -H 'Accept: text/event-stream' ${quoted(`${location.origin}/topics/${path}`)}`
    $('line-busbar').textContent = `busbar sub ${quoted(topic)}`
    $('line-js').textContent = `import { connect } from '${location.origin}/busbar.js'
const bus = connect('${websocket}')
bus.subscribe(${JSON.stringify(topic)}, m => console.log(m.data))`
}

$('join').addEventListener('submit', event => {
    event.preventDefault()
    join($('topic').value)
})

$('publish').addEventListener('submit', async event => {
    event.preventDefault()
    const text = $('text').value
    let data = text
    try {
        const value = JSON.parse(text)
        if (typeof value === 'object')
            data = value
    } catch {
        // Not JSON: it is text.
    }
    $('text').value = ''
    try {
        await bus.publish($('topic').value, data)
    } catch (error) {
        notice(`not published: ${error.message}`)
    }
})

for (const button of document.querySelectorAll('[data-copy]'))
    button.addEventListener('click', async () => {
        await navigator.clipboard.writeText($(button.dataset.copy).textContent)
        button.textContent = 'Copied'
        setTimeout(() => { button.textContent = 'Copy' }, 1500)
    })

restore()
if (kept.topic)
    $('topic').value = kept.topic
join($('topic').value, kept.cursor)
