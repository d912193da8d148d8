"""What a token may see, a stand-in shows, and no more; searches and histories over HTTP."""

import pytest

from agents.client import Change, Live, NotAllowed, RecordMisfit, Window
from agents.client.testing import FakeWindow
from contracts.subjects.resident import ResidentV2
from tests.agents.client.suite import key_of, resident, until

TOKEN = "a-long-and-secret-token"


async def test_a_stand_in_with_a_token_lets_nobody_else_in() -> None:
    with FakeWindow("resident.v2", token=TOKEN) as fake:
        fake.put("resident.v2", resident(1))
        async with Window(fake.url, "") as nobody, Window(fake.url, TOKEN) as window:
            with pytest.raises(NotAllowed, match="401"):
                await nobody.lookup("resident.v2", key_of(1))
            with pytest.raises(NotAllowed, match="401"):
                await anext(nobody.subscribe("resident.v2"))
            assert (await window.lookup("resident.v2", key_of(1))).record


async def test_who_sees_fewer_fields_is_told_to_ask_by_the_name() -> None:
    fields = {"resident.v2": ("id_number", "division_code", "name")}
    with FakeWindow("resident.v2", token=TOKEN, fields=fields, scopes=("370112",)) as fake:
        fake.put("resident.v2", resident(1))
        fake.put("resident.v2", resident(2))
        async with Window(fake.url, TOKEN) as window:
            with pytest.raises(RecordMisfit, match="missing required field `sex`"):
                await window.lookup(ResidentV2, key_of(1))
            found = [each.record async for each in window.records("resident.v2")]
            expected = {name: resident(1)[name] for name in fields["resident.v2"]}
            assert found == [expected]


async def test_records_are_searched_and_followed_by_what_is_in_them() -> None:
    with FakeWindow("resident.v2") as fake:
        fake.put("resident.v2", resident(1, household_no="000000001", relation="head"))
        fake.put("resident.v2", resident(2, household_no="000000002", relation="head"))
        async with Window(fake.url) as window:
            found = [each.key async for each in window.search(ResidentV2, household_no="000000002")]
            assert found == [key_of(2)]
            found = [each.key async for each in window.records("resident.v2", where="sex == '1'")]
            assert found == [key_of(1)]
            fake.put("resident.v2", resident(1, name="李丽"))
            newest, oldest = await window.history(ResidentV2, key_of(1))
            assert newest.record
            assert oldest.record
            assert (newest.record.name, oldest.record.name) == ("李丽", "王秀英")
            events = window.subscribe("resident.v2", where="status == 'active' && sex == '1'")
            *_, state, _ = await until(events, Live)
            assert state.key == key_of(1)
            fake.put("resident.v2", resident(1, status="moved_out"))
            (gone,) = await until(events, Change)
            assert (gone.op, gone.key) == ("delete", key_of(1))
            await events.aclose()
