"""Chat of the Django Channels tutorial, on the real Channels and Daphne: `python channels_tutorial.py PORT`.

There is one group of the channel layer for each room. Opening `/ws/chat/ROOM/` joins the room, and frames have only the
field `message`. https://channels.readthedocs.io/en/stable/tutorial/part_3.html
"""

from __future__ import annotations

import json
import sys
from typing import Any

import django
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.routing import URLRouter
from daphne.server import Server
from django.conf import settings
from django.urls import re_path


class ChatConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]
    async def connect(self) -> None:
        self.group = f"chat_{self.scope['url_route']['kwargs']['room_name']}"
        await self.channel_layer.group_add(self.group, self.channel_name)
        await self.accept()

    async def disconnect(self, close_code: int) -> None:
        await self.channel_layer.group_discard(self.group, self.channel_name)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        said = json.loads(text_data or "{}")["message"]
        await self.channel_layer.group_send(self.group, {"type": "chat.message", "message": said})

    async def chat_message(self, event: dict[str, Any]) -> None:
        await self.send(text_data=json.dumps({"message": event["message"]}))


def main(port: int) -> None:
    layer = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    settings.configure(CHANNEL_LAYERS=layer, SECRET_KEY="x" * 50, ALLOWED_HOSTS=["*"])
    django.setup()
    application = URLRouter([re_path(r"ws/chat/(?P<room_name>[\w.-]+)/$", ChatConsumer.as_asgi())])
    Server(application, endpoints=[f"tcp:port={port}:interface=127.0.0.1"], signal_handlers=True).run()


if __name__ == "__main__":
    main(int(sys.argv[1]))
