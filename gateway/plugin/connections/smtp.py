"""Connections of type `smtp`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, SecretStr

from gateway.plugin.connections.settings import ConnectionSettings


class SmtpConnection(ConnectionSettings):
    """A mail server."""

    type: Literal["smtp"]
    host: str = Field(min_length=1, description="The server's name or address.", examples=["smtp.example.com"])
    port: int = Field(587, ge=1, le=65535, description="587 for starttls, 465 for implicit.", examples=[465])
    tls: Literal["starttls", "implicit", "none"] = Field(
        "starttls",
        description="starttls (port 587), implicit (port 465), or none (a catcher or a local relay).",
        examples=["implicit"],
    )
    username: str = Field("", description="Empty: no login.", examples=["gateway"])
    password: SecretStr = Field(SecretStr(""), description="For the login.", examples=["${SMTP_PASSWORD}"])
    from_: str = Field(
        alias="from", min_length=3, description="The sender of every mail.", examples=["Acme <orders@acme.example>"]
    )
    ca_file: str | None = Field(
        None, description="Certificates to trust instead of the system's, PEM.", examples=["config/tls/ca.pem"]
    )
    concurrency: int = Field(2, ge=1, le=100, description="Connections kept open at most.", examples=[4])
