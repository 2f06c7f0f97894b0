// Clients by Node. Usage: client.mjs "STORY..." HOST PORT OWN SOURCE
// OWN is the pod's address as it sees it itself, SOURCE as the server sees it.
import assert from 'node:assert/strict'
import http from 'node:http'
import http2 from 'node:http2'
import https from 'node:https'
import net from 'node:net'
import { once } from 'node:events'
import { createHash } from 'node:crypto'

const [story, host, port, own, source] = process.argv.slice(2)
const authority = (host.includes(':') ? `[${host}]` : host) + ':' + port
const base = 'http://' + authority

async function text(stream) {
  let all = ''
  for await (const d of stream) all += d
  return all
}

const stories = {
  // One kept socket for all requests, one after the other.
  async agent() {
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
    const ask = async (options, body) => {
      const req = http.request({ host, port, agent, ...options })
      if (Array.isArray(body)) body.forEach((b) => req.write(b))
      req.end(Array.isArray(body) ? undefined : body)
      const [res] = await once(req, 'response')
      return [req, res, await text(res)]
    }
    for (let i = 0; i < 4; i++) {
      const [req, res, body] = await ask({ path: '/n' + i })
      assert.equal(res.statusCode, 200)
      assert.equal(req.reusedSocket, i > 0)
      assert.equal(JSON.parse(body).remote, source)
      assert.equal(req.socket.remoteAddress, host)
      assert.equal(req.socket.localAddress, own)
    }
    const chunks = Array(100).fill('x'.repeat(10_000))
    const [, , put] = await ask({ method: 'PUT', path: '/chunks' }, chunks)
    assert.equal(JSON.parse(put).sha256, createHash('sha256').update(chunks.join('')).digest('hex'))
    const [, stream, all] = await ask({ path: '/stream' })
    assert.ok(all.endsWith('chunk 999\n'))
    assert.equal(stream.trailers['x-end'], 'reached')
    const [, none] = await ask({ path: '/none' })
    assert.equal(none.statusCode, 204)
    agent.destroy()
  },

  async fetches() {
    for (let i = 0; i < 2; i++) assert.equal((await (await fetch(base + '/f')).json()).remote, source)
    const posted = await (await fetch(base + '/f', { method: 'POST', body: 'b'.repeat(200_000) })).json()
    assert.equal(posted.bytes, 200_000)
    const body = new ReadableStream({ start(c) { for (let i = 0; i < 50; i++) c.enqueue(new TextEncoder().encode('part')); c.close() } })
    const streamed = await (await fetch(base + '/f', { method: 'POST', body, duplex: 'half' })).json()
    assert.equal(streamed.bytes, 200)
  },

  // What WebSocket libraries do: 101, then bytes both ways.
  async upgrade() {
    const req = http.request({ host, port, path: '/socket', headers: {
      connection: 'Upgrade', upgrade: 'websocket', 'sec-websocket-version': '13', 'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==' } })
    req.end()
    const [res, socket] = await once(req, 'upgrade')
    assert.equal(res.statusCode, 101)
    assert.equal(res.headers['sec-websocket-accept'], 's3pPLMBiTxaQ9kYGzzhZRbK+xOo=')
    const frame = Buffer.from([0x81, 0x85, 1, 2, 3, 4, 0x69, 0x67, 0x6f, 0x68, 0x6e]) // masked text "hello", RFC 6455 5.7's kind
    for (let i = 0; i < 50; i++) {
      socket.write(frame)
      const [echo] = await once(socket, 'data')
      assert.deepEqual(echo, frame)
    }
    const big = Buffer.alloc(1 << 20, 7)
    let got = 0
    socket.on('data', (d) => { got += d.length })
    socket.end(big)
    await once(socket, 'end')
    assert.equal(got, big.length)
  },

  async http2() {
    const session = http2.connect(base)
    const all = await Promise.all(Array.from({ length: 20 }, async () => text(session.request({ ':path': '/small' }))))
    all.forEach((b) => assert.equal(b, 'a small file\n'))
    session.close()
    await once(session, 'close')
  },

  async tls() {
    const req = https.get(`https://${authority}/small`, { rejectUnauthorized: false, agent: false })
    const [res] = await once(req, 'response')
    assert.equal(await text(res), 'a small file\n')
  },

  async sockets() {
    const socket = net.connect({ host, port: Number(port), allowHalfOpen: true })
    await once(socket, 'connect')
    assert.equal(socket.remoteAddress, host)
    assert.equal(socket.remotePort, Number(port))
    assert.equal(socket.localAddress, own)
    socket.end('q'.repeat(300_000))
    assert.equal(await text(socket), '300000\n')
  },
}

for (const name of story.split(' ')) await stories[name]()
console.log('ok')
