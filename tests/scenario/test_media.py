"""Refreshes by media id, from the operator's command line to the vendor's SDK and through a restart."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from alibabacloud_tea_openapi.models import Config
from alibabacloud_vod20170321 import models
from alibabacloud_vod20170321.client import Client

from tests.scenario.stack import Stack
from tests.servers.base import SITE

AT = f"http://{SITE}/film"


def freshline(stack: Stack, *words: str) -> Any:
    command = [sys.executable, "-m", "freshline", *words, "--data-dir", str(stack.home), "--json"]
    return json.loads(subprocess.run(command, capture_output=True, check=True, timeout=30).stdout)


def test_media(tmp_path: Path) -> None:
    """What is declared while the service runs is refreshed by its id, and the job outlives the service."""
    stack = Stack(tmp_path, []).start()
    try:
        freshline(stack, "media", "add", "film", f"{AT}.mp4", f"{AT}.flv", "--definition", "HD")
        freshline(stack, "media", "add", "film", f"{AT}.m3u8", "--slice", f"{AT}/0.ts", "--slice", f"{AT}/1.ts")
        (medium,) = freshline(stack, "media", "list", "film", "--account", "tests")
        config = Config(
            access_key_id=stack.key.id, access_key_secret=stack.key.secret, endpoint=stack.address, protocol="http"
        )
        vod = Client(config)
        asked = models.RefreshMediaPlayUrlsRequest(
            media_ids="film,other", task_type="Preload", formats="mp4,m3u8", slice_flag=True, slice_count=1
        )
        taken = vod.refresh_media_play_urls(asked).body
        stack.kill()
        stack.start()
        ask = models.GetMediaRefreshJobsRequest(media_refresh_job_id=taken.media_refresh_job_id)
        (job,) = vod.get_media_refresh_jobs(ask).body.media_refresh_jobs
        freshline(stack, "media", "remove", "film", f"{AT}.flv")
        (left,) = freshline(stack, "media", "list")
        freshline(stack, "media", "remove", "film")

        assert freshline(stack, "media", "list") == []
    finally:
        stack.stop()
    assert [(play["format"], len(play["slices"])) for play in medium["plays"]] == [("mp4", 0), ("flv", 0), ("m3u8", 2)]
    assert [play["format"] for play in left["plays"]] == ["mp4", "m3u8"]
    assert (taken.non_exist_media_ids, taken.forbidden_media_ids) == ("other", "")
    assert (job.status, job.media_id, job.task_ids) == ("success", "film", "1,2,3")
    assert job.success_play_urls == f"{AT}.mp4,{AT}.m3u8,{AT}/0.ts"
