"""The ends: how their programs are called, and what they cannot do by what they are."""

import subprocess
from dataclasses import dataclass, field


@dataclass
class End:
    """A program of `interop/programs`, or one that is called alike."""

    name: str
    program: list
    link: str
    is_tercel: bool = False
    cli: str = ""  # Tercel's program, which speaks HTTP/3.
    # Case or (case, role) -> why not.
    lacks: dict = field(default_factory=dict)

    def version(self):
        said = subprocess.run([*self.program, "version"], stdout=subprocess.PIPE, text=True, check=False).stdout
        return said.strip() or self.name

    def cannot(self, case, role):
        return self.lacks.get((case, role)) or self.lacks.get(case)

    def command(self, role, case, directory, options, listen=None, connect=None, preferred=None, names=()):
        if self.cli and case == "http3":
            return self.http3(role, directory, options, listen, connect, names)
        place = ["--listen", listen, "--www", directory] if role == "server" else ["--connect", connect, "--out", directory]
        more = ["--preferred", preferred] if preferred else []
        return [*self.program, role, case, *place, *options, *more, *names]

    def http3(self, role, directory, options, listen, connect, names):
        """By `tercel serve` and `tercel get`."""
        certificate, key, authority = options[1::2]
        if role == "server":
            return [self.cli, "serve", directory, "--listen", listen, "--cert", certificate, "--key", key]
        urls = [f"https://localhost:{connect.rsplit(':', 1)[1]}/{name}" for name in names]
        return [self.cli, "get", "--quiet", "--ca", authority, "--output", directory, *urls]

    def ready(self, case):
        """The word by which a server says that it listens."""
        return "Serving" if self.cli and case == "http3" else "ready"


@dataclass
class Caddy(End):
    """quic-go by way of Caddy: a server of HTTP/3."""

    configuration: str = ""

    def version(self):
        said = subprocess.run([*self.program, "version"], stdout=subprocess.PIPE, text=True, check=False).stdout
        return "Caddy " + said.split()[0].lstrip("v")

    def cannot(self, case, role):
        if role == "client":
            return "Caddy asks nobody by HTTP/3"
        return None if case == "http3" else "Caddy speaks HTTP/3 only, with a server's defaults"

    def command(self, role, case, directory, options, listen=None, connect=None, preferred=None, names=()):
        certificate, key, _ = options[1::2]
        with open(f"{directory}/../Caddyfile", "w", encoding="utf-8") as out:
            out.write(
                "{\n admin off\n auto_https off\n}\n"
                f"https://localhost:{listen.rsplit(':', 1)[1]} {{\n bind {listen.rsplit(':', 1)[0].strip('[]')}\n"
                f" tls {certificate} {key}\n root * {directory}\n file_server\n}}\n")
        return [*self.program, "run", "--config", f"{directory}/../Caddyfile", "--adapter", "caddyfile"]

    def ready(self, case):
        return "serving initial configuration"
