// SPDX-License-Identifier: Apache-2.0
// Stock Action Cable clients in a real browser, each in a tab of its own: node cablepage.mjs CHROMIUM USER-DATA-DIR
// It serves their pages itself, as any host.example too.
import fs from 'node:fs'
import http from 'node:http'
import path from 'node:path'
import { chromium } from 'playwright-core'
import { obey, tell } from './orders.mjs'

const [executablePath, userData] = process.argv.slice(2)
const here = path.dirname(new URL(import.meta.url).pathname)
const html = `<!doctype html><meta charset="utf-8"><title>cable</title>
<script type="importmap">{"imports": {"@anycable/core": "/node_modules/@anycable/core/index.js",
    "nanoevents": "/node_modules/nanoevents/index.js"}}</script>
<script type="module">
import * as clients from '/cableclients.mjs'
window.begin = async ({address, kind, ...options}) => {
    const sockets = []
    const common = {...options, address, kind, tell, sockets, Socket: clients.overheard(WebSocket, {tell, sockets})}
    window.orders = kind.startsWith('rails') ? clients.rails({...common, cable: window.ActionCable})
        : clients.anycable({...common, createCable: (await import('@anycable/core')).createCable})
}
</script>`
const scripts = {rails: '@rails/actioncable/app/assets/javascripts/actioncable.js',
    rails61: 'actioncable61/app/assets/javascripts/action_cable.js'}

const server = http.createServer((request, response) => {
    const name = path.normalize(new URL(request.url, 'http://any').pathname)
    if (name === '/')
        response.setHeader('Content-Type', 'text/html').end(html)
    else if (name.endsWith('.js') || name.endsWith('.mjs'))
        response.setHeader('Content-Type', 'text/javascript').end(fs.readFileSync(path.join(here, name)))
    else
        response.writeHead(404).end()
})
await new Promise(resolve => server.listen(0, '127.0.0.1', resolve))
const {port} = server.address()
const context = await chromium.launchPersistentContext(userData, {
    executablePath, headless: true, timeout: 60_000,
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
        '--disable-component-update', '--disable-sync', '--host-resolver-rules=MAP *.example 127.0.0.1'],
})
const tabs = new Map()
const names = new Map()
await context.exposeBinding('tell', ({page}, event, fields) => tell(event, {tab: names.get(page), ...fields}))
tell('launched', {port})

// Orders of a tab are obeyed in it; those that are ours are these.
const ours = {
    async open({tab, host, ...options}) {
        const page = await context.newPage()
        names.set(page, tab)
        tabs.set(tab, page)
        page.on('pageerror', error => tell('pageerror', {tab, message: String(error)}))
        page.on('console', message => tell('console', {tab, type: message.type(), text: message.text()}))
        await page.goto(`http://${host}:${port}/`)
        if (scripts[options.kind])
            await page.addScriptTag({url: `/node_modules/${scripts[options.kind]}`})
        await page.waitForFunction(() => window.begin)
        await page.evaluate(options => window.begin(options), options)
    },
    async close({tab}) {
        await tabs.get(tab).close()
        tell('closed-tab', {tab})
    },
}
await obey(new Proxy(ours, {
    get: (_, name) => ours[name] ?? (order => tabs.get(order.tab).evaluate(order => { window.orders[order.do](order) }, order)),
}))
await context.close()
server.close()
