"""The wire protocol, said once and held against three Clefs: the server on SQLite and on PostgreSQL, and ``LocalClef``.

S1 to S9 and the table of errors. What belongs to one of them alone is in the other files.
"""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import pytest
from support.cases import each
from support.login_server import Site, postgresql
from support.wires import PROFILE, Answer, Wire, form_of, local_wire, server_wire

INVALID_APP = "Invalid App ID."
INVALID_SECRET = "Invalid App Secret."
INVALID_CODE = "Invalid OAuth Code."
INVALID_WEBHOOK = "Invalid logout hook URL."
INVALID_TOKEN = "Invalid token."
INVALID_LOGOUT = "Invalid Logout Token."
CALLS = {"authorize": "POST", "info": "GET", "logout": "POST"}

ODD_QUERIES = (
    ("?redirect_state=A", "&"),  # S2
    ("?login", "&"),  # S3: never ?login=undefined
    ("?", ""),
    ("?a=1&&b=&=c&", "&"),
    ("?next=/a?b=c/d", "&"),
    ("?q=%E9%zz%", "&"),
    ("?q=[x]|{y}^`~*'\"<>;,:@!$()", "&"),
    ("?q=%2F%2f%41", "&"),
    ("?q=a+b%20c%2Bd", "&"),
)
STATES = ("abc", "", "a b+c/d=e&f%g", "é☃😀", "%zz", "a\u0001b", '"><script>', "x" * 2000)


@pytest.fixture(scope="class")
def wire(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    """One Clef for all cases of a class: each makes its own codes, and none looks at what another left."""
    with request.cls.clef(tmp_path_factory.mktemp("wire")) as wire:
        yield wire


def api(wire: Wire, name: str, form: Mapping[str, str], headers: Mapping[str, str] | None = None) -> Answer:
    """One call of a site, with what every answer of the API must keep."""
    return checked(wire.call("POST", f"/api/v1/{name}", urlencode(form).encode(), headers))


def checked(answer: Answer) -> Answer:
    """JSON with a length, never a redirect, never a 201, never kept."""
    assert answer.status in range(200, 201) or answer.status in range(400, 500), answer.text
    assert answer.headers["content-type"] == "application/json"
    assert int(answer.headers["content-length"]) == len(answer.body)
    assert "location" not in answer.headers
    assert answer.headers["cache-control"] == "no-store"
    return answer


def refused(answer: Answer, status: int, message: str) -> None:
    """E(message): the exact string, and nothing that looks like success."""
    assert (answer.status, answer.json["error"]) == (status, message)
    assert answer.json.get("success", False) is False
    assert "access_token" not in answer.json


def back_at_site(location: str) -> dict[str, str]:
    """The query with which a browser came back, each name once."""
    fields = parse_qs(urlsplit(location).query, keep_blank_values=True)
    return {name: value for name, (value,) in fields.items()}


def new_code(wire: Wire, site: Site | None = None, *, person: str = "Ann") -> str:
    return back_at_site(wire.say_yes((site or wire.site).ask(), person=person).location)["code"]


def authorize(wire: Wire, code: str, site: Site | None = None, **more: str) -> Answer:
    return api(wire, "authorize", {**(site or wire.site).credentials, "code": code, **more})


def new_token(wire: Wire, site: Site | None = None, *, person: str = "Ann") -> str:
    answer = authorize(wire, new_code(wire, site, person=person), site)
    assert answer.status == 200, answer.text
    return str(answer.json["access_token"])


def info(wire: Wire, token: str) -> Answer:
    return checked(wire.call("GET", f"/api/v1/info?access_token={quote(token)}"))


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


class WireContract:
    """Every Clef answers like this."""

    @staticmethod
    def clef(folder: Path) -> AbstractContextManager[Wire]:
        """The Clef in question, new."""
        raise NotImplementedError

    # --- the browser's way (section 1)

    @pytest.mark.parametrize("path", ["/iframes/qr", "/iframes/login"])
    def test_s1_a_person_who_says_yes_comes_back_with_code_and_state(self, wire: Wire, path: str) -> None:
        """S1: the page asks; yes leads to redirect_url with a code and the same state; the code is a login."""
        query = wire.site.ask(state="xyz", response_type="code")
        page = wire.page(query, path)
        assert page.status == 200
        assert "location" not in page.headers
        assert page.headers["cache-control"] == "no-store"
        assert form_of(page).partition("?")[2] == query
        location = wire.say_yes(query).location
        assert location.startswith(wire.site.callback + "?code=")
        fields = back_at_site(location)
        assert fields == {"code": fields["code"], "state": "xyz"}
        assert authorize(wire, fields["code"]).json["success"] is True

    @each(("query", "joint"), ODD_QUERIES)
    def test_s2_s3_what_stood_in_the_query_stays_byte_for_byte(self, wire: Wire, query: str, joint: str) -> None:
        """S2, S3: code and state are added behind the site's own query, which nobody rewrites."""
        redirect_url = wire.site.callback + query
        answer = wire.say_yes(urlencode({"app_id": wire.site.app_id, "redirect_url": redirect_url, "state": "s"}))
        assert answer.location.startswith(redirect_url + joint + "code=")
        assert answer.location.endswith("&state=s")

    def test_s1_redirect_url_may_come_unescaped(self, wire: Wire) -> None:
        """S1: some clients paste redirect_url in as it is."""
        query = f"app_id={wire.site.app_id}&redirect_url={wire.site.callback}?redirect_state=A&state=s"
        assert wire.say_yes(query).location.startswith(wire.site.callback + "?redirect_state=A&code=")

    @each(
        ("raw", "returned"),
        [
            ("?q=é☃", "?q=%C3%A9%E2%98%83"),
            ("?q=%C3%A9", "?q=%C3%A9"),  # unescaped by the client, so unescaped once too often here
            ("?q=%E9", "?q=%E9"),  # latin-1
            ("?q=a b+c", "?q=a%20b%20c"),
        ],
    )
    def test_s1_an_unescaped_query_may_be_no_ascii(self, wire: Wire, raw: str, returned: str) -> None:
        """S1: bytes of the site's own query come back escaped, whatever they are, and the address is ASCII."""
        raw = quote(raw, safe="?=%+")
        query = f"app_id={wire.site.app_id}&state=s&redirect_url={wire.site.callback}{raw}"
        assert wire.say_yes(query).location.startswith(f"{wire.site.callback}{returned}&code=")
        assert wire.page(query).status == 200

    def test_s1_app_id_and_redirect_url_may_come_twice(self, wire: Wire) -> None:
        """S1: omniauth-clef says both again from its second login on: the first counts, and all must be right."""
        twice = f"{wire.site.ask(redirect_url=wire.site.callback + '?n=1')}&{wire.site.ask(state='s')}"
        assert wire.page(twice).status == 200
        assert wire.say_yes(twice).location.startswith(f"{wire.site.callback}?n=1&code=")

    def test_s4_no_state_no_state_key(self, wire: Wire) -> None:
        """S4: state comes back only if it was given."""
        assert set(back_at_site(wire.say_yes(wire.site.ask()).location)) == {"code"}

    @each("state", STATES)
    def test_s5_state_is_the_same_after_decoding(self, wire: Wire, state: str) -> None:
        """S5: also with what means something in a URL, and outside ASCII; the address itself is ASCII."""
        location = wire.say_yes(wire.site.ask(state=state)).location
        assert location.isascii()
        assert location.isprintable()
        assert back_at_site(location)["state"] == state

    @each("raw", ["%ff%fe", "%C3%A9", "%E2%98", "a+b", "a%2Bb"])
    def test_s5_state_is_handed_back_byte_by_byte(self, wire: Wire, raw: str) -> None:
        """S5: bytes that are no UTF-8 come back as they came."""
        location = wire.say_yes(wire.site.ask() + f"&state={raw}").location
        (given,) = parse_qs(raw_state := f"state={raw}", errors="surrogateescape")["state"]
        found = parse_qs(urlsplit(location).query, errors="surrogateescape")["state"]
        assert found == [given], raw_state

    def test_s6_only_a_registered_place_is_allowed(self, wire: Wire) -> None:
        """S6, row 61: another scheme, host, port or path, or a query that holds an answer: a page, no redirect."""
        good = urlsplit(wire.site.callback)
        scheme, host = good.scheme, good.netloc
        port = good.port or {"http": 80, "https": 443}[scheme]
        other_scheme = {"http": "https", "https": "http"}[scheme]
        bad = [
            f"{other_scheme}://{host}{good.path}",
            f"{other_scheme}://{good.hostname}:{port}{good.path}",
            f"{scheme}://{host}:444{good.path}" if ":" not in host else f"{scheme}://{host}1{good.path}",
            f"{scheme}://evil.example{good.path}",
            f"{scheme}://{host}.evil.example{good.path}",
            f"{scheme}://evil{host}{good.path}",
            f"{scheme}://user@{host}{good.path}",
            f"{scheme}://{host}@evil.example{good.path}",
            f"{scheme}://evil.example\\@{host}{good.path}",
            f"//{host}{good.path}",
            f"///{host}{good.path}",
            f"{scheme}:{good.path}",
            f"{scheme}:/{host}{good.path}",
            f"{scheme}://{host}",
            f"{scheme}://{host}/",
            f"{wire.site.callback}/",
            f"{wire.site.callback}/x",
            f"{wire.site.callback}x",
            f"{wire.site.callback};x",
            f"{wire.site.callback}%20",
            f"{scheme}://{host}/x/..{good.path}",
            f"{scheme}://{host}//{good.path}",
            f"{scheme}://{host}{good.path.upper()}",
            f"{scheme}://{host}{good.path.replace('/clef', '/%63lef')}",
            f"{wire.site.callback}#fragment",
            f"{wire.site.callback}?code=mine",
            f"{wire.site.callback}?a=b&state=mine",
            f"{wire.site.callback}?c%6Fde=mine",
            f"{wire.site.callback}?code=",
            f"{wire.site.callback}?code",
            f"{wire.site.callback}?a=b&state=",
            f"{wire.site.callback}?state&a=b",
            f" {wire.site.callback}",
            f"{wire.site.callback}\n",
            f"{wire.site.callback}\t?x",
            f"{scheme}\t://{host}{good.path}",
            f"{wire.site.callback}?a=\r\nSet-Cookie: x",
            f"{wire.site.callback}é",
            f"{wire.site.callback}?a\u0085b",
            f"{wire.site.callback}?a\\b",
            wire.site.callback.replace("://", "://é"),
            "javascript:alert(1)",
            "data:text/html,x",
            "/clef/callback",
            "",
            wire.other.callback,
        ]
        for redirect_url in bad:
            query = urlencode({"app_id": wire.site.app_id, "redirect_url": redirect_url, "state": "s"})
            if redirect_url == wire.other.callback == wire.site.callback:
                continue  # both sites are at one place
            self._assert_error_page(wire, query)

    def test_s6_an_unknown_app_is_an_error_page(self, wire: Wire) -> None:
        """S6: unknown, empty or missing app id, or a field that is there twice: a page, no redirect."""
        to = f"&redirect_url={quote(wire.site.callback)}"
        for query in (
            "app_id=" + "0" * 32 + to,
            "app_id=" + wire.site.app_id.upper() + "X" + to,
            "app_id=" + to,
            "app_id=%00" + to,
            to[1:],
            "",
            f"app_id={wire.site.app_id}",
            wire.site.ask(state="a") + "&state=b",
            wire.site.ask() + f"&app_id={wire.other.app_id}",
            wire.site.ask() + "&app_id=",
            f"app_id={'0' * 32}&" + wire.site.ask(),
            wire.site.ask() + "&redirect_url=https://evil.example/",
            "redirect_url=https://evil.example/&" + wire.site.ask(),
            wire.site.ask() + to + "&redirect_url=",
            wire.site.ask() + to + quote("?code=mine"),
        ):
            self._assert_error_page(wire, query)

    def _assert_error_page(self, wire: Wire, query: str) -> None:
        for answer in (wire.page(query), wire.say_yes(query)):
            assert answer.status == 400, query
            assert "location" not in answer.headers, query
            assert "Invalid redirect URL." in answer.text, query
            assert "evil.example" not in answer.text, query

    # --- authorize (section 2)

    def test_s7_a_wrong_secret_does_not_use_up_the_code(self, wire: Wire) -> None:
        """S7: 403 with the secret wrong or missing, then 200 with the right one, for the same code."""
        code = new_code(wire)
        for secret in ("wrong", "", wire.other.secret, wire.site.secret + "x", "é", "\0"):
            form = {"app_id": wire.site.app_id, "app_secret": secret, "code": code}
            refused(api(wire, "authorize", form), 403, INVALID_SECRET)
        refused(api(wire, "authorize", {"app_id": wire.site.app_id, "code": code}), 403, INVALID_SECRET)
        assert authorize(wire, code).status == 200

    def test_an_unknown_app_does_not_use_up_the_code(self, wire: Wire) -> None:
        """The table: an app id that is unknown or missing is E("Invalid App ID.")."""
        code = new_code(wire)
        for app_id in ("0" * 32, "", "é", "\0", "x" * 5000):
            form = {"app_id": app_id, "app_secret": wire.site.secret, "code": code}
            refused(api(wire, "authorize", form), 403, INVALID_APP)
        refused(api(wire, "authorize", {"code": code}), 403, INVALID_APP)
        refused(api(wire, "authorize", {}), 403, INVALID_APP)
        assert authorize(wire, code).status == 200

    def test_s8_a_code_that_is_not_this_apps_is_refused(self, wire: Wire) -> None:
        """S8: unknown, empty, missing, and another app's code, which stays good for its own app."""
        for code in ("unknown", "", "é", "\0", "x" * 5000):
            refused(authorize(wire, code), 403, INVALID_CODE)
        refused(api(wire, "authorize", wire.site.credentials), 403, INVALID_CODE)
        code = new_code(wire)
        refused(authorize(wire, code, wire.other), 403, INVALID_CODE)
        assert authorize(wire, code).status == 200

    def test_s8_a_code_works_once(self, wire: Wire) -> None:
        """S8: the second use is refused."""
        code = new_code(wire)
        assert authorize(wire, code).status == 200
        refused(authorize(wire, code), 403, INVALID_CODE)

    def test_s8_a_code_works_for_a_minute(self, wire: Wire) -> None:
        """S8, row 62: good after 59 s, refused after 60 s."""
        early, late = new_code(wire), new_code(wire)
        wire.advance(59)
        assert authorize(wire, early).status == 200
        wire.advance(1)
        refused(authorize(wire, late), 403, INVALID_CODE)

    def test_s8_a_logout_kills_the_code(self, wire: Wire) -> None:
        """S8: logged out between yes and the exchange: the login does not happen."""
        code = new_code(wire)
        wire.log_out()
        refused(authorize(wire, code), 403, INVALID_CODE)

    def test_s9_of_parallel_calls_exactly_one_succeeds(self, wire: Wire) -> None:
        """S9: four at once with one code: one 200, three E("Invalid OAuth Code."). More would queue at the door."""
        code, start, answers = new_code(wire), threading.Barrier(4), list[Answer]()

        def exchange() -> None:
            start.wait(30)
            answers.append(authorize(wire, code))

        threads = [threading.Thread(target=exchange) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(answer.status for answer in answers) == [200, *[403] * 3]
        for answer in answers:
            assert answer.status == 200 or answer.json["error"] == INVALID_CODE

    def test_a_field_that_is_there_twice_counts_as_missing(self, wire: Wire) -> None:
        """The table: of two codes, ids or secrets none is believed, and the code is not consumed."""
        code = new_code(wire)
        fields = [*wire.site.credentials.items(), ("code", code)]
        for name, message in (("app_id", INVALID_APP), ("app_secret", INVALID_SECRET), ("code", INVALID_CODE)):
            body = urlencode([*fields, (name, dict(fields)[name])]).encode()
            refused(checked(wire.call("POST", "/api/v1/authorize", body)), 403, message)
        assert authorize(wire, code).status == 200

    def test_a_body_that_is_no_form_is_a_clean_refusal(self, wire: Wire) -> None:
        """The table: JSON, multipart without an end, bytes that are no UTF-8, nothing at all: E("Invalid App ID.")."""
        form = {**wire.site.credentials, "code": "x"}
        for body, content_type in (
            (json.dumps(form).encode(), "application/json"),
            (b"--b\r\nContent-Disposition: form-data; name=app_id\r\n\r\nx", "multipart/form-data; boundary=b"),
            (b"--b\r\n\r\n", "multipart/form-data"),
            (b"app_id=\xff\xfe&app_secret=%ff&code=%00", "application/x-www-form-urlencoded"),
            (b"&" * 3000, "application/x-www-form-urlencoded"),
            (b"", "text/plain"),
        ):
            answer = checked(wire.call("POST", "/api/v1/authorize", body, {"Content-Type": content_type}))
            refused(answer, 403, INVALID_APP)

    @pytest.mark.parametrize("more", [{}, {"redirect_uri": "https://anywhere.example/"}])
    def test_the_oauth_2_spelling(self, wire: Wire, more: dict[str, str]) -> None:
        """Section 2: grant_type, client_id, client_secret; redirect_uri is ignored."""
        client = {"client_id": wire.site.app_id, "client_secret": wire.site.secret}
        form = {"grant_type": "authorization_code", "code": new_code(wire), **client, **more}
        answer = api(wire, "authorize", form)
        assert answer.status == 200
        assert answer.json["success"] is True
        assert info(wire, answer.json["access_token"]).status == 200

    def test_http_basic(self, wire: Wire) -> None:
        """Section 2: app id and secret may come by HTTP Basic; what is wrong there is the same E."""
        code, site = new_code(wire), wire.site
        for headers, message in (
            (basic("0" * 32, site.secret), INVALID_APP),
            (basic(site.app_id, "wrong"), INVALID_SECRET),
            (basic(site.app_id, "é"), INVALID_SECRET),
            ({"Authorization": "Basic !!!"}, INVALID_APP),
            ({"Authorization": "Basic /w=="}, INVALID_APP),
            ({"Authorization": "Basic"}, INVALID_APP),
            ({"Authorization": "Bearer x"}, INVALID_APP),
            ({"Authorization": ""}, INVALID_APP),
        ):
            refused(api(wire, "authorize", {"code": code}, headers), 403, message)
        form = {"grant_type": "authorization_code", "code": code}
        assert api(wire, "authorize", form, basic(site.app_id, site.secret)).status == 200

    def test_a_webhook_for_one_login_must_be_on_the_apps_domain(self, wire: Wire) -> None:
        """The table: logout_hook off the app's scheme, host or port is 400, and the code is not consumed."""
        good = urlsplit(wire.site.callback)
        other_scheme = {"http": "https", "https": "http"}[good.scheme]
        code = new_code(wire)
        for webhook in (
            "https://evil.example/hook",
            f"{other_scheme}://{good.netloc}/hook",
            f"{other_scheme}://{good.hostname}:{good.port or 443}/hook",
            f"{good.scheme}://{good.hostname}:1/hook",
            f"{good.scheme}://{good.netloc}.evil.example/hook",
            f"{good.scheme}://user@{good.netloc}/hook",
            f"{good.scheme}://{good.netloc}@evil.example/hook",
            f"//{good.netloc}/hook",
            f"{good.scheme}://{good.netloc}\\.evil.example/hook",
            "javascript:alert(1)",
            "/hook",
            "",
        ):
            refused(authorize(wire, code, logout_hook=webhook), 400, INVALID_WEBHOOK)
        assert authorize(wire, code, logout_hook=f"{good.scheme}://{good.netloc}/my/hook?user=1").status == 200

    # --- info (section 3)

    @pytest.mark.parametrize("scheme", ["Bearer", "bearer"])
    def test_info_by_query_and_by_bearer(self, wire: Wire, scheme: str) -> None:
        """Section 3: the token in the query, or as Bearer; id is an integer that fits old columns."""
        token = new_token(wire)
        by_query = info(wire, token)
        assert by_query.status == 200
        person = by_query.json["info"]
        assert by_query.json == {"success": True, "info": {"id": person["id"], **PROFILE}}
        assert type(person["id"]) is int
        assert 2**30 <= person["id"] < 2**31
        by_header = checked(wire.call("GET", "/api/v1/info", headers={"Authorization": f"{scheme} {token}"}))
        assert by_header.json == by_query.json

    def test_what_is_not_known_is_left_out(self, wire: Wire) -> None:
        """Section 3: no name, no e-mail, no phone: not there, never null."""
        person = info(wire, new_token(wire, person="Cleo")).json["info"]
        assert person == {"id": person["id"], "first_name": "Cleo"}

    def test_the_id_is_the_same_at_each_login_and_another_at_each_app(self, wire: Wire) -> None:
        """Section 5: a site knows a person again; two sites can't compare."""
        ids = [info(wire, new_token(wire, site)).json["info"]["id"] for site in (wire.site, wire.site, wire.other)]
        assert ids[0] == ids[1] != ids[2]

    def test_a_token_that_is_none_is_refused(self, wire: Wire) -> None:
        """Section 3: unknown, empty, missing or twice: E("Invalid token."), 403."""
        token = new_token(wire)
        for query in (
            "?access_token=unknown",
            "?access_token=",
            "",
            "?access_token=%ff%00",
            f"?access_token={token}&access_token={token}",
        ):
            refused(checked(wire.call("GET", f"/api/v1/info{query}")), 403, INVALID_TOKEN)
        for header in ("Bearer", "Bearer unknown", f"Basic {token}", token):
            refused(checked(wire.call("GET", "/api/v1/info", headers={"Authorization": header})), 403, INVALID_TOKEN)

    def test_a_token_works_for_ten_minutes(self, wire: Wire) -> None:
        """Section 3: good after 599 s, refused after 600 s."""
        token = new_token(wire)
        wire.advance(599)
        assert info(wire, token).status == 200
        wire.advance(1)
        refused(info(wire, token), 403, INVALID_TOKEN)

    # --- logout (section 4)

    def test_a_logout_token_tells_who_it_was(self, wire: Wire) -> None:
        """Section 4, S11: the same integer as info's id, as often as the app asks; nothing to another app."""
        number = info(wire, new_token(wire)).json["info"]["id"]
        token = wire.logout_token()
        for _ in range(2):
            answer = api(wire, "logout", {"logout_token": token, **wire.site.credentials})
            assert (answer.status, answer.json) == (200, {"success": True, "clef_id": number})
        other = api(wire, "logout", {"logout_token": token, **wire.other.credentials})
        refused(other, 400, INVALID_LOGOUT)

    def test_a_logout_token_that_is_none_is_refused(self, wire: Wire) -> None:
        """Section 4: E("Invalid Logout Token."), 400; app id and secret as at authorize, 403."""
        for token in ("1234567890", "", "é", "\0"):
            refused(api(wire, "logout", {"logout_token": token, **wire.site.credentials}), 400, INVALID_LOGOUT)
        refused(api(wire, "logout", wire.site.credentials), 400, INVALID_LOGOUT)
        wrong = {"logout_token": "1234567890", **wire.site.credentials}
        refused(api(wire, "logout", {**wrong, "app_id": "0" * 32}), 403, INVALID_APP)
        refused(api(wire, "logout", {**wrong, "app_secret": "wrong"}), 403, INVALID_SECRET)

    # --- what no call may do

    @each(("name", "right"), CALLS.items())
    def test_a_wrong_method_is_json_in_words(self, wire: Wire, name: str, right: str) -> None:
        """Section 2: a JSON 4xx, never 5xx, and what is so: "Invalid App ID." would send people to their secret."""
        for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} - {right}:
            answer = checked(wire.call(method, f"/api/v1/{name}"))
            assert answer.status == 405
            assert right in answer.json["error"]
            assert right in answer.headers["allow"].split(", ")

    @each("method", ["GET", "POST"])
    @each("path", ["/api/v1/authorize/", "/api//v1/authorize", "/api/v1//info", "/api/v2/info", "/api/v1/", "/api/"])
    def test_an_address_that_is_none_of_the_api_is_json_too(self, wire: Wire, method: str, path: str) -> None:
        """Section 2: never a redirect, which would turn the POST into a GET."""
        answer = checked(wire.call(method, path))
        assert (answer.status, answer.json["error"]) == (404, "There is no such call.")

    @each("path", ["//api/v1/authorize", "//iframes/qr", "/iframes/qr/", "/iframes"])
    def test_no_address_is_corrected_by_a_redirect(self, wire: Wire, path: str) -> None:
        """Section 2: nothing but a yes sends anybody anywhere."""
        answer = wire.call("GET", path)
        assert answer.status in (400, 404, 405)
        assert "location" not in answer.headers

    def test_no_answer_holds_a_secret(self, wire: Wire) -> None:
        """Not in an error, not in a page."""
        code = new_code(wire)
        texts = [
            authorize(wire, code, wire.other).text,
            api(wire, "authorize", {**wire.site.credentials, "app_id": "0" * 32, "code": code}).text,
            wire.page(wire.site.ask()).text,
        ]
        for text in texts:
            assert code not in text
            assert wire.site.secret not in text


class TestServerOnSQLite(WireContract):
    """The self-hosted server as it starts by default."""

    @staticmethod
    def clef(folder: Path) -> AbstractContextManager[Wire]:
        return server_wire(folder / "clef.db")


@pytest.mark.services
class TestServerOnPostgreSQL(WireContract):
    """The self-hosted server on a database server."""

    @staticmethod
    @contextmanager
    def clef(folder: Path) -> Iterator[Wire]:
        with postgresql() as url, server_wire(url) as wire:
            yield wire


class TestLocalClef(WireContract):
    """The one that people test their own sites with."""

    @staticmethod
    def clef(folder: Path) -> AbstractContextManager[Wire]:
        return local_wire()
