// SPDX-License-Identifier: Apache-2.0
// The live page: joins a topic through the JavaScript client, as any page would.
import { connect } from '/busbar.js'

const $ = id => document.getElementById(id)
const MAX_LINES = 500
const STATES = {
    live: 'live', recovered: 'recovered: nothing was missed', gap: 'some messages were no longer kept',
    reset: 'the server started anew: older messages are gone',
}

const where = await (await fetch('/console.json')).json()
const host = location.hostname
const websocket = where.websocket.replace('{host}', host)
const tcp = where.tcp.replace('{host}', host)
let subscription = null

const bus = connect(websocket, {
    onstate(state, reason) {
        $('connection').value = reason ? `${state}: ${reason}` : state
        $('connection').dataset.state = state
    },
    onerror(error) { notice(error.message) },
})

// A reload goes on where the page was: the cursor lives as long as the tab.
const saved = key => sessionStorage.getItem(key)
function save(topic, cursor) {
    sessionStorage.setItem('topic', topic)
    sessionStorage.setItem('cursor', cursor)
}

function join(topic, since) {
    subscription?.unsubscribe()
    $('messages').replaceChildren()
    $('state').textContent = ''
    subscription = bus.subscribe(topic, message => {
        line(message)
        save(topic, message.cursor)
    }, {
        ...(since ? {since} : {last: 20}),
        onstate({state, cursor, topics}) {
            $('state').textContent = `${topic}: ${STATES[state] ?? state}` + (topics.length ? ` (${topics.join(', ')})` : '')
            $('state').dataset.state = state
            save(topic, cursor)
        },
        onerror(error) { notice(error.message) },
    })
    terminal(topic)
}

function line({topic, data, time}) {
    const item = document.createElement('li')
    const from = document.createElement('span')
    const text = document.createElement('span')
    from.className = 'from'
    from.textContent = `${new Date(time ?? Date.now()).toLocaleTimeString()} ${topic}`
    text.className = 'data'
    text.textContent = typeof data === 'string' ? data : data instanceof Uint8Array ? `${data.length} bytes` : JSON.stringify(data)
    item.append(from, text)
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

if (saved('topic'))
    $('topic').value = saved('topic')
join($('topic').value, saved('topic') === $('topic').value ? saved('cursor') : null)
