// SPDX-License-Identifier: Apache-2.0
// The pages of examples/patterns in a real browser: node patterns.mjs CHROMIUM USER-DATA-DIR http://HOST:PORT/
import { chromium } from 'playwright-core'
import { obey, tell } from './orders.mjs'

const [executablePath, userData, address] = process.argv.slice(2)
const context = await chromium.launchPersistentContext(userData, {
    executablePath, headless: true, timeout: 60_000,
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
        '--disable-component-update', '--disable-sync'],
})
const pages = new Map()
tell('launched')

await obey({
    async open({name}) {
        const page = pages.get(name) ?? await context.newPage()
        pages.set(name, page)
        page.on('pageerror', error => tell('pageerror', {name, message: String(error)}))
        await page.goto(new URL(`${name}.html`, address).href)
        tell('opened', {name})
    },
    async close({name}) {
        await pages.get(name).close()
        pages.delete(name)
        tell('closed', {name})
    },
    async ask({name, n}) {
        await pages.get(name).fill('#number', String(n))
        await pages.get(name).click('#ask button')
    },
    // Waits for a line that begins with the text.
    async see({name, text}) {
        await pages.get(name).waitForFunction(wanted =>
            [...document.querySelectorAll('#answers li')].some(e => e.textContent.startsWith(wanted)), text, {timeout: 25_000})
            .then(() => tell('seen', {name, text}), async error => tell('unseen', {name, text, error: error.message,
                lines: await pages.get(name).evaluate(() => [...document.querySelectorAll('#answers li')].map(e => e.textContent))}))
    },
})
await context.close()
