"""A mail server for one letter at a time. Usage: smtpd.py PORT FILE"""
import socket
import socketserver
import sys


class Session(socketserver.StreamRequestHandler):
    def say(self, text):
        self.wfile.write(text.encode() + b"\r\n")

    def handle(self):
        self.say("220 mail.test ESMTP")
        for line in self.rfile:
            verb = line.split()[0].upper() if line.split() else b""
            if verb == b"QUIT":
                self.say("221 bye")
                return
            if verb == b"DATA":
                self.say("354 go on")
                self.letter()
            self.say("250 ok")

    def letter(self):
        with open(sys.argv[2], "wb") as f:
            for line in self.rfile:
                if line == b".\r\n":
                    return
                f.write(line)


class Server(socketserver.ThreadingTCPServer):
    address_family = socket.AF_INET6
    allow_reuse_address = True


Server(("::", int(sys.argv[1])), Session).serve_forever()
