"""Request lines and headers of an attacker, and names that are nobody's attack. Data alone, for every server."""

from __future__ import annotations

from collections.abc import Mapping

Asked = tuple[bytes, Mapping[str, str]]
"""A request line, and headers whose characters are bytes."""

TARGETS = b"""
    /admin /admin/ /admin/users /%61dmin /%61%64%6D%69%6E /admin?x=1 /admin? /admin#x
    admin %61dmin ./admin ../admin %2fadmin %2Fadmin %2e/admin .%2fadmin ;/admin
    x:admin x:/admin http:admin http:/admin http://localhost/admin http://localhost//admin
    https://localhost:1/admin http://user@localhost/%61dmin //localhost/admin http:///admin x://y/admin
    //admin ///admin /%2fadmin /%2Fadmin /./admin /.//admin /%2e/admin /.;/admin
    /x/../admin /x/%2e%2e/admin /x/..%2fadmin /x%2f..%2fadmin /../admin /..%2fadmin /..;/admin
    /x/..;y/admin /public/../admin /public/..;/admin /public%2f..%2fadmin /static/../admin
    /static/%2e%2e/admin /static/..;x/admin /clef/webhook/../../admin /clef/../admin /public//../admin
    /admin;x /admin%3Bx /admin; /;x/admin /admin;x/users /admin/;/.. /x/../admin/;/..
    /admin/. /admin/.. /admin/../admin /admin/../public/../admin /admin// //x/..//admin//
    /@@admin /%40%40admin /@%40admin @@admin /x/../@@admin /@@/admin /admin/@@ /admin/@@x
    /x/../admin/@@/.. /x/../admin/%40%40;/.. /@@/../admin /@@../admin /public/@@/../../admin
    /adm%ffin /%ffadmin /admin%ff /admin%FF/users /adm\xffin /%c3admin /admin%c3 %ffadmin
    /adm%c0%aein /adm%ed%a0%80in /adm%e2%82in /%f0%9fadmin /public/.%FF./admin /.%ff/admin
    /public/%ff../admin /%ff/../admin /%ff%2fadmin /adm%ff%ffin /static/.%FF./admin //%ff//admin
    /%2561dmin /%252fadmin /public/%252e%252e/admin /%25%36%31dmin /adm%25ffin /%2540%2540admin
    /admin%00 /%00admin /admin%00/ /adm%00in /admin%0a /admin%0A /admin%0d%0a /admin%0d
    /admin%20 /%20admin /admin%09 /%0aadmin /admin%7f /admin%C2%85 /admin%E2%80%A8 admin%0a
    /\\admin \\admin /%5cadmin /x\\..\\admin /x/..%5cadmin /admin%5c /admin\\users /.%5c/admin
    * /* x/admin %ff/admin public/admin public/../admin |/admin admin/.. ? */admin
    /\xc3\xbcber /%C3%BCber /%c3%bcber %C3%BCber /%C3%BCber%FF /%FF%C3%BCber /x/../%C3%BCber
    /@@%C3%BCber //%C3%BCber /%C3%BCber;x /%C3%BCber/ /%C3%BCber%0a /%C3%83%C2%BCber /%FCber
    /site/admin //site//admin site/admin /site/%61dmin /site/adm%ffin /site/adm%C3%BFin
    /site/@@admin /site/../admin /site/../site/admin /site/x/../../../admin /site/x/../admin
    /site/admin/;/.. /site/x/../admin/@@/.. /site/admin%0a /site/%C3%BCber /site/../%C3%BCber
    /site/./../admin /site/..;/admin /%ff/site/admin /site/%ff/../admin /si%ffte/adm%ffin
    /files/secret/plan.txt /files/%5csecret/plan.txt /files/secret%5cplan.txt /files//secret/plan.txt
    /files/../static/secret/plan.txt /files/x/../secret/plan.txt /files/%2fsecret/plan.txt
    /files/..%2fstatic%2fsecret%2fplan.txt /files/secret/plan.txt%5c /files/./secret/./plan.txt
""".split()
"""Request targets that might reach ``/admin``, or another page for members."""

ANCHORS = b"/admin admin /adm%ffin /@@admin /%C3%BCber".split()
METHODS = b"HEAD POST PUT DELETE PATCH OPTIONS PROPFIND BREW get".split()
PREFLIGHT = {"Origin": "https://elsewhere.example", "Access-Control-Request-Method": "GET"}

_STEERED = b"""
    /|/admin  /|admin  |/admin  /|//admin  /|/admin/  /in|/adm  /users|/admin  /public|/admin  /static|/admin
    /static/x|/admin/users  /public/..|/admin  /static/..|/admin/x  /..|/admin/x  in|/adm  /|/@@admin  @admin|/@
    /|/x/../admin  /admin|/..  /admin|/x  /admin/users|/public  /site|/admin  /site/|/admin  /site/users|/admin
    /site/public|/../admin  /|/x/../admin/@@/..  /|/site/admin  /%ff|/admin  /|/%61dmin  /|/adm\xffin  /|/\xc3\xbcber
    /site|/\xc3\xbcber  /|/static  /|
""".split()
"""A target, and a part of a path in a header."""

_SCRIPT_NAMES = b"""
    /admin|/  /xadmin|/x  /x/admin|/x/  /x/admin|/x  //admin|/  //admin|//  /static/admin|/static/
    /public/admin|/public/  /x./admin|/x  /%61dmin|/  /admin|  /site/admin|/  /%C3%BCber|/  /xadm%ffin|/x
    /x@@admin|/x  x/admin|x/  /admin|/admin
""".split()
"""A target, and what gunicorn is told of it by somebody on its own machine."""

_OTHERS = ("X-Original-URL", "X-Rewrite-URL", "X-Forwarded-Prefix", "X-Script-Name", "X-Forwarded-Uri", "PATH_INFO")


def _get(target: bytes) -> bytes:
    return b"GET %s HTTP/1.1" % target


def _with_header(name: str, pairs: list[bytes]) -> list[Asked]:
    split = [pair.partition(b"|") for pair in pairs]
    return [(_get(target), {name: value.decode("latin-1")}) for target, _, value in split]


LINES: list[Asked] = [(_get(target), {}) for target in TARGETS]

BY_METHOD: list[Asked] = [
    *((b"%s %s HTTP/1.1" % (method, target), {}) for method in METHODS for target in ANCHORS),
    *((b"OPTIONS %s HTTP/1.1" % target, PREFLIGHT) for target in (*ANCHORS, b"*")),
]

STEERED: list[Asked] = [
    *_with_header("X-Vhm-Root", _STEERED),
    *_with_header("X_Vhm_Root", _STEERED[:8]),
    *_with_header("SCRIPT_NAME", _SCRIPT_NAMES),
    *((_get(target), {name: "/admin"}) for name in _OTHERS for target in (b"/", b"/static/x")),
]

ODD: list[Asked] = [
    (line, {})
    for line in (
        *(b"GET  /admin HTTP/1.1", b"GET /admin  HTTP/1.1", b"GET\t/admin\tHTTP/1.1", b"GET /admin HTTP/1.0"),
        *(b"GET /admin", b"GET /admin HTTP/1.1 ", b"GET /admin x HTTP/1.1", b"\r\nGET admin HTTP/1.1"),
        *(b"GET /public /../admin HTTP/1.1", b"GET admin HTTP/1.0", b"GET /adm\x00in HTTP/1.1"),
        *(b"GET /admin\x0b HTTP/1.1", b"GET \x0c/admin HTTP/1.1", b"GET /admin HTTP/0.9", b"GET admin"),
    )
]

NAMES = b"""
    / /public /a;b.pdf /@@x /caf%E9 //cdn/x /... /administer /Admin /admin.html
    /admin-x /x/admin /a%20b /a+b /%E2%82%AC /caf%C3%A9 /a%2Fb /a%252Fb /~ann /%7Eann
    /.well-known/security.txt /.hidden /a..b /..a /a/ /a//b /a:b /@ann/posts /a,b=c
    /x;jsessionid=1/y /image%20(1).png /wiki/C%2B%2B /%F0%9F%94%91 /%FF /a%FFb /a%5Cb /a%3Bb
    /index?next=/admin /?admin /admi /admin%C3%A9 /%40%40x /a'b!c*d /x?y=%FF;z /a%0Ab
""".split()
"""Legitimate, where ``/admin`` alone is protected."""

NEAR_MISSES = b"""
    /clef/webhook/ /clef/Webhook //clef/webhook /clef/%77ebhook clef/webhook /clef/webhook;x
    /x/../clef/webhook /clef//webhook /CLEF/WEBHOOK/ /clef/./webhook /@@clef/webhook
    /clef/callback/ /clef/Callback?code=1&state=2 /clef/login/ /clef/Logout //clef/login?next=/admin
""".split()

UNSTRIPPED = b"""
    /app /app/ /app/admin /app/app/y /app/clef/webhook /app/public //app/admin app/admin
    /%61pp/admin /x/../app/admin /app;x/admin /./app /@@app
""".split()
"""Below ``/app``, which is the prefix of a ``base_url`` and was not stripped."""
