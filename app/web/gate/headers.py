"""What every answer tells the browser: where scripts and styles come from, who may frame it, what it may ask for."""

from __future__ import annotations

from flask import Flask, Response, request

# Nothing may be loaded from anywhere unless it is named; scripts and styles are files of ours, never inline.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'; object-src 'none'"
)
NOT_ASKED_FOR = (
    "accelerometer", "autoplay", "bluetooth", "browsing-topics", "camera", "display-capture", "encrypted-media",
    "fullscreen", "gamepad", "geolocation", "gyroscope", "hid", "idle-detection", "local-fonts", "magnetometer",
    "microphone", "midi", "payment", "picture-in-picture", "publickey-credentials-get", "screen-wake-lock", "serial",
    "usb", "web-share", "xr-spatial-tracking",
)  # fmt: skip
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": ", ".join(f"{name}=()" for name in NOT_ASKED_FOR),
}
# for two years; not for subdomains, which are not ours to speak for
TRANSPORT = {"Strict-Transport-Security": "max-age=63072000"}


def of(production: bool) -> dict[str, str]:
    """The headers of a page. In production browsers are told to come by https alone."""
    return {**HEADERS, **(TRANSPORT if production else {})}


def install(flask: Flask, production: bool) -> None:
    """Put them on every answer of the application."""
    usual = of(production)

    def added(response: Response) -> Response:
        for name, value in usual.items():
            response.headers.setdefault(name, value)
        if not request.path.startswith("/static/"):
            response.headers.setdefault("Cache-Control", "no-store")
        return response

    flask.after_request(added)
