// An HTTP server by Node: it says as JSON what it saw of a request. Usage: server.mjs PORT
//   /none          204
//   /stream        1000 chunks, then a trailer
//   /hint          103 before the answer
//   /refuse        417 to whoever expects 100-continue
//   /events        says "event 0", and another with each /fire
//   /hang          no answer
//   an upgrade     101, then echoes bytes
import { createServer } from 'node:http'
import { createHash } from 'node:crypto'

const server = createServer({ keepAliveTimeout: 60_000 }, (req, res) => answer(req, res))

function answer(req, res) {
  const path = req.url.split('?')[0]
  if (path === '/none') return res.writeHead(204).end()
  if (path === '/stream') return stream(res)
  if (path === '/events') return events(res)
  if (path === '/hang') return
  if (path === '/fire') watchers.forEach((w) => w.write(`event ${w.next++}\n`))
  if (path === '/hint') res.writeEarlyHints({ link: '</style.css>; rel=preload' })
  const hash = createHash('sha256')
  let bytes = 0
  req.on('data', (d) => { hash.update(d); bytes += d.length })
  req.on('end', () => {
    const text = JSON.stringify({
      method: req.method, url: req.url, version: req.httpVersion, headers: req.headers, trailers: req.trailers,
      bytes, sha256: hash.digest('hex'), remote: req.socket.remoteAddress.replace(/^::ffff:/, ''),
    }) + '\n'
    res.writeHead(200, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) })
    res.end(text)
  })
}

function stream(res) {
  res.writeHead(200, { trailer: 'x-end' })
  for (let i = 0; i < 1000; i++) res.write(`chunk ${i}\n`)
  res.addTrailers({ 'x-end': 'reached' })
  res.end()
}

const watchers = new Set()

function events(res) {
  res.writeHead(200, { 'content-type': 'text/event-stream' })
  res.write('event 0\n')
  res.next = 1
  watchers.add(res)
  res.on('close', () => watchers.delete(res))
}

server.on('checkContinue', (req, res) => {
  if (req.url === '/refuse') return res.writeHead(417, { connection: 'close' }).end('no\n')
  res.writeContinue()
  answer(req, res)
})

server.on('upgrade', (req, socket, head) => {
  const accept = createHash('sha1').update(req.headers['sec-websocket-key'] + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11').digest('base64')
  socket.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: ${req.headers.upgrade}\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`)
  socket.on('error', () => {})
  if (head.length) socket.write(head)
  socket.pipe(socket)
})

server.listen(Number(process.argv[2]), '::')
