"""Opens a page in a real browser, waits for what it says in `document.documentElement.dataset.result`, and
prints that. Chromium is driven by its DevTools protocol over a pipe, Firefox by Marionette; Python's own
library is all that is needed.

usage: drive.py chromium|firefox URL [--profile DIR] [--screenshot FILE] [--size WxH] [--wait SECONDS] [--dark]
                [--visits N] [--evaluate SCRIPT] [-- ARGUMENT...]

The arguments are Chromium's, or Firefox's preferences as NAME=JSON.
"""

import argparse, base64, json, os, socket, subprocess, sys, tempfile, time

LOOK = "document.documentElement.dataset.result || ''"


class Chromium:
    """Messages are JSON with a zero byte behind; file descriptor 3 is read by the browser, 4 is written."""

    def __init__(self, profile, size, arguments, log):
        (their_in, self.out), (self.into, their_out) = os.pipe(), os.pipe()
        def pipes():
            # Away from 3 and 4 first: either may be in the other's place.
            ours = os.dup(their_in), os.dup(their_out)
            os.dup2(os.dup(ours[0]), 3); os.dup2(ours[1], 4)
        self.process = subprocess.Popen(
            ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
             "--disable-background-networking", "--disable-component-update", "--remote-debugging-pipe",
             f"--user-data-dir={profile}", f"--window-size={size.replace('x', ',')}", *arguments, "about:blank"],
            preexec_fn=pipes, close_fds=False, stderr=log, stdout=log)
        os.close(their_in); os.close(their_out)
        self.pending, self.number, self.session = b"", 0, None
        target = next(target for target in self.ask("Target.getTargets")["targetInfos"] if target["type"] == "page")
        self.session = self.ask("Target.attachToTarget", targetId=target["targetId"], flatten=True)["sessionId"]
        self.ask("Page.enable")

    def ask(self, method, **parameters):
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.out, json.dumps(message).encode() + b"\0")
        while True:
            *messages, self.pending = self.pending.split(b"\0")
            for at, text in enumerate(messages):
                answer = json.loads(text)
                if answer.get("id") == self.number:
                    self.pending = b"\0".join([*messages[at + 1:], self.pending])
                    if "error" in answer:
                        raise RuntimeError(f"{method}: {answer['error']}")
                    return answer["result"]
            piece = os.read(self.into, 1 << 20)
            if not piece:
                raise RuntimeError("the browser has ended")
            self.pending += piece

    def dark(self):
        self.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])

    def open(self, url):
        self.ask("Page.navigate", url=url)

    def part(self):
        """Closes every connection, so that the next visit makes a new one. What was learned of servers stays."""
        self.open("chrome://net-internals/#sockets")
        button = "document.getElementById('sockets-view-flush-button')"
        until = time.monotonic() + 10
        while not self.evaluate(f"document.readyState === 'complete' && !!{button}"):
            if time.monotonic() > until:
                raise RuntimeError("cannot close the browser's connections")
            time.sleep(0.1)
        for _ in range(4):
            # The page may be complete before it listens.
            self.evaluate(f"{button}.click()")
            time.sleep(0.25)

    def evaluate(self, script):
        return self.ask("Runtime.evaluate", expression=script, awaitPromise=True)["result"].get("value")

    def screenshot(self):
        return base64.b64decode(self.ask("Page.captureScreenshot")["data"])

    def close(self):
        self.session = None
        try:
            self.ask("Browser.close")
        except (RuntimeError, OSError):
            pass  # It may be gone before it answers.
        self.process.wait(20)


class Firefox:
    """Messages are their length, a colon and JSON, over TCP."""

    def __init__(self, profile, size, arguments, log):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        os.makedirs(profile, exist_ok=True)
        with open(f"{profile}/user.js", "w") as preferences:
            for name, value in [("marionette.port", port), ("browser.shell.checkDefaultBrowser", False), *arguments]:
                preferences.write(f"user_pref({json.dumps(name)}, {json.dumps(value)});\n")
        width, height = size.split("x")
        self.process = subprocess.Popen(
            ["firefox-esr", "--headless", "--marionette", "--remote-allow-system-access", "--no-remote", "--profile", profile, "--width", width, "--height", height],
            stdout=log, stderr=log, env={**os.environ, "MOZ_HEADLESS_WIDTH": width, "MOZ_HEADLESS_HEIGHT": height})
        for attempt in range(300):
            try:
                self.socket = socket.create_connection(("127.0.0.1", port))
                break
            except OSError:
                time.sleep(0.1)
        else:
            raise RuntimeError("Firefox does not listen")
        self.pending, self.number = b"", 0
        self.read()
        self.ask("WebDriver:NewSession", acceptInsecureCerts=True)

    def read(self):
        while b":" not in self.pending:
            self.more()
        length, self.pending = self.pending.split(b":", 1)
        while len(self.pending) < int(length):
            self.more()
        text, self.pending = self.pending[:int(length)], self.pending[int(length):]
        return json.loads(text)

    def more(self):
        piece = self.socket.recv(1 << 20)
        if not piece:
            raise RuntimeError("the browser has ended")
        self.pending += piece

    def ask(self, method, **parameters):
        self.number += 1
        message = json.dumps([0, self.number, method, parameters]).encode()
        self.socket.sendall(str(len(message)).encode() + b":" + message)
        while True:
            _, number, error, result = self.read()
            if number == self.number:
                if error:
                    raise RuntimeError(f"{method}: {error['message']}")
                return result

    def dark(self):
        pass

    def open(self, url):
        self.ask("WebDriver:Navigate", url=url)

    def part(self):
        """Closes every connection, so that the next visit makes a new one. What was learned of servers stays."""
        self.open("about:blank")
        self.ask("Marionette:SetContext", value="chrome")
        for offline in ["true", "false"]:
            self.ask("WebDriver:ExecuteScript", script=f"Services.io.offline = {offline}", args=[])
            time.sleep(0.5)
        self.ask("Marionette:SetContext", value="content")

    def evaluate(self, script):
        return self.ask("WebDriver:ExecuteScript", script=f"return ({script})", args=[])["value"]

    def screenshot(self):
        return base64.b64decode(self.ask("WebDriver:TakeScreenshot", full=False)["value"])

    def close(self):
        try:
            self.ask("Marionette:Quit", flags=["eForceQuit"])
        except (RuntimeError, OSError):
            pass  # It may be gone before it answers.
        self.process.wait(20)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("browser", choices=["chromium", "firefox"])
    parser.add_argument("url")
    parser.add_argument("--profile")
    parser.add_argument("--screenshot")
    parser.add_argument("--size", default="1000x790")
    parser.add_argument("--wait", type=float, default=60)
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--visits", type=int, default=1)
    parser.add_argument("--evaluate", default=LOOK, help="what is asked until it is not empty")
    own, arguments = sys.argv[1:], []
    if "--" in own:
        own, arguments = own[:own.index("--")], own[own.index("--") + 1:]
    options = parser.parse_args(own)
    if options.browser == "firefox":
        arguments = [(name, json.loads(value)) for name, value in (argument.split("=", 1) for argument in arguments)]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch, open(os.devnull, "w") as log:
        kind = Chromium if options.browser == "chromium" else Firefox
        browser = kind(options.profile or f"{scratch}/profile", options.size, arguments, log)
        try:
            if options.dark:
                browser.dark()
            for visit in range(options.visits):
                if visit > 0:
                    browser.part()
                browser.open(options.url)
                until = time.monotonic() + options.wait
                while not (result := browser.evaluate(options.evaluate)) and time.monotonic() < until:
                    time.sleep(0.1)
                print(result or "no result in time", flush=True)
            if options.screenshot:
                with open(options.screenshot, "wb") as file:
                    file.write(browser.screenshot())
        finally:
            browser.close()


main()
