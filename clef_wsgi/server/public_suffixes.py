"""Public suffixes, such as ``co.uk`` and ``github.io``, which no browser accepts as an RP id.

These are those of two labels (https://publicsuffix.org): the usual categories below countries, and the hosts and
dynamic names under which people run servers. The whole list is six times as long, and grows: the browsers have it,
and refuse what is missing here when the first passkey is made. A name of one label is no domain of anybody's either.
"""

from __future__ import annotations

_EVERYTHING_BELOW = "ck er fk jm mm np pg"  # there each name of two labels is one

_BELOW_COUNTRIES = {
    "ac": (
        "ae at bd be bw ci cn cr cy eg fj gn id il im in ir jp ke kr lk ls ma me ml mu mw mz ni nz pa pk pr "
        "rs rw se sz th tz ug uk vn za zm zw"
    ),
    "ai": "bd id in jo kr vn",
    "art": "br do dz ec ht ml sn",
    "asso": "ci dz fr gp ht km mc ml nc re",
    "biz": "az bb cy et fj gh id in ki ls mv mw my ni nr pk pl pr ss tj tr tt vn zm",
    "co": (
        "ae ag am ao at az bb bd bi bj bw bz ci cl cm cr dm gg gl gy hu id il im in io ir it je jp ke kr lc "
        "ls ma me mg mu mw mz na ni nz om pn rs rw ss st sz th tj tm tt tz ug uk us uz ve vi za zm zw"
    ),
    "com": (
        "ac af ag ai al am ar au aw az ba bb bd bh bi bj bm bn bo br bs bt by bz ci cm cn co cu cv cw cy dm "
        "do dz ec ee eg es et fj fm fr ge gh gi gl gn gp gr gt gu gy hk hn hr ht im in io iq jo kg kh ki km "
        "kp kw ky kz la lb lc lk lr lv ly mg mk ml mo ms mt mu mv mw mx my na nf ng ni nr om pa pe pf ph pk "
        "pl pr ps pt py qa re ro sa sb sc sd sg sh sl sn so ss st sv sy tj tm tn to tr tt tw ua ug uy uz vc "
        "ve vi vn vu ws ye zm"
    ),
    "coop": "ar br ht in km mv mw py rw",
    "edu": (
        "ac af al ao ar au az ba bb bd bh bi bj bm bn bo br bs bt bz ci cn co cu cv cw dm do dz ec ee eg es "
        "et fj fm gd ge gh gi gl gn gp gr gt gu gy hk hn ht in io iq it jo kg kh ki km kn kp kw ky kz la lb "
        "lc lk lr ls lv ly me mg mk ml mn mo ms mt mv mw mx my mz ng ni nr om pa pe pf ph pk pl pn pr ps pt "
        "py qa rs sa sb sc sd sg sl sn so ss st sv sy tj tm to tr tt tw ua ug uy vc ve vg vn vu ws ye za zm"
    ),
    "go": "ci cr id it jp ke kr th tj tz ug",
    "gob": "ar bo cl cu do ec es gt hn mx ni pa pe pk sv ve",
    "gouv": "ci fr ht km ml sn",
    "gov": (
        "ac ae af al ao ar as au az ba bb bd bf bh bm bn br bs bt bw by bz cd cl cm cn co cx cy cz dm do dz "
        "ec ee eg et fj gd ge gh gi gn gr gu gy hk ie il in io iq ir it jo kg kh ki km kn kp kw kz la lb lc "
        "lk lr ls lt lv ly ma me mg mk ml mn mo mr ms mu mv mw my mz na ng nr om ph pk pl pn pr ps pt pw py "
        "qa rs rw sa sb sc sd sg sh sl so ss sx sy tj tl tm tn to tr tt tw ua ug uk vc ve vn ws ye za zm zw"
    ),
    "id": "au bd cv fj ir lv ly us vn",
    "info": "az bb bd bj bo ec eg et fj gu ht hu in ke ki la ls ml mv nf ni nr pl pr ro sd tn tr tt tz ve vn zm",
    "int": "ar az bo ci cv in la lk mv mw ni pt tj ve vn",
    "me": "eg in it ke kr so ss tz uk us",
    "med": "br ec ee ht ly om pa pro sa sd",
    "mil": (
        "ac ae al ar az ba bd bo br by cl cn co cy do ec eg fj gh gt hn id in io iq jo kg km kr kz lv mg mv "
        "my mz ng ni no nz pe ph pl py qa rw sh st sy tj tm to tr tt tw tz ug uy vc ve ye za zm zw"
    ),
    "name": "az eg et fj hr mk mv my ng pr qa tj tr tt vn",
    "ne": "jp ke kr tz ug us",
    "net": (
        "ac ae af ag ai al am ar au az ba bb bd bh bj bm bn bo br bs bt bw bz ci cm cn co cu cv cw cy dm do "
        "dz ec eg et fj fm ge gg gh gl gn gp gr gt gu gy hk hn ht id il im in io iq ir je jo kg kh ki kn kw "
        "ky kz la lb lc lk lr ls lv ly ma me mk ml mo ms mt mu mv mw mx my mz na nf ng ni nr nz om pa pe ph "
        "pk pl pn pr ps pt py qa rw sa sb sc sd sg sh sl so ss st sy th tj tm tn to tr tt tw ua uk uy uz vc "
        "ve vi vn vu ws ye za zm"
    ),
    "nom": "ag co es fr io km mg nc ni pa pe pl ro tm ve za",
    "or": "at bi ci cr id it jp ke kr mu th tz ug us",
    "org": (
        "ac ae af ag ai al am ao ar au az ba bb bd bh bi bj bm bn bo br bs bt bw bz ci cn co cu cv cw cy dm "
        "do dz ec ee eg es et fj fm ge gg gh gi gl gn gp gr gt gu gy hk hn ht hu il im in io iq ir je jo kg "
        "kh ki km kn kp kw ky kz la lb lc lk lr ls lv ly ma me mg mk ml mn mo ms mt mu mv mw mx my mz na ng "
        "ni nr nz om pa pe pf ph pk pl pn pr ps pt py qa ro rs rw sa sb sc sd se sg sh sk sl sn so ss st sv "
        "sy sz tj tm tn to tr tt tw ua ug uk uy uz vc ve vi vn vu ws ye za zm zw"
    ),
    "pro": "az br cy ec fj ht in mv om pr tt vn",
    "sc": "cn ke kr ls tz ug us",
    "sch": "ae bd id ir jo lk ly ng qa sa ss zm",
    "tm": "cy dz fr hu km mc no pl ro se za",
    "tv": "bb bd bo br eg im in it jo sd tr tz",
    "web": "bo do gu id lk nf ni pk tj tr ve za",
}
"""Category -> where it is one."""

_SHARED = """
3utilities.com accesscam.org ad.jp ae.org altervista.org amazonlightsail.com amplifyapp.com appspot.com asn.au
ath.cx awsapps.com azureedge.net azurestaticapps.net azurewebsites.net bitbucket.io biz.ua blogspot.com bounceme.net
br.com carrd.co casacam.net cc.ua cloud.run cloudapp.net cloudfront.net cloudfunctions.net cloudns.asia cloudns.biz
cloudns.cc cloudns.cl cloudns.eu cloudns.org cn.com co.ca co.com co.cz co.de co.dk co.nl co.no co.pl co.ro co.ua
codeberg.page com.de com.ru com.se cri.nz csb.app ddns-ip.net ddns.me ddns.net ddnsfree.com ddnsgeek.com ddnss.de
ddnss.org de.com dedyn.io deno.dev deno.net diskstation.me dnsalias.com dnsalias.net dnsalias.org dnsdojo.com
dnsdojo.net dnsdojo.org dnshome.de dnshome.eu dpdns.org dreamhosters.com dscloud.biz dscloud.me dsmynas.com
dsmynas.net dsmynas.org duckdns.org dynalias.com dynalias.net dynalias.org dyndns.biz dyndns.info dyndns.org
dyndns.tv dyndns.ws dyndns1.de dynu.net dynv6.net ed.jp elasticbeanstalk.com eu.com eu.org familyds.com familyds.net
familyds.org fbxos.fr firebaseapp.com firm.in fly.dev framer.app framer.website freeboxos.fr freeddns.org
freemyip.com gb.net geek.nz gen.in gen.nz giize.com gitbook.io github.app github.io githubusercontent.com gitlab.io
gleeze.com goip.de gotdns.com gotdns.org govt.nz gr.com gr.jp herokuapp.com hf.space hk.com hk.org home-webserver.de
home64.de homedns.org homeftp.net homeftp.org homeip.net homelinux.com homelinux.net homelinux.org homeunix.com
homeunix.net homeunix.org hopto.me hopto.org hu.net i234.me in-berlin.de in-vpn.de in-vpn.net in-vpn.org in.net
ind.in ip-ddns.com ipv64.de ipv64.net is-a-geek.com is-a-geek.net is-a-geek.org is-a.dev isa-geek.com isa-geek.net
isa-geek.org it.com iwi.nz jp.net jpn.com jpn.org js.org keenetic.link keenetic.name keenetic.pro kicks-ass.net
kicks-ass.org kiwi.nz kozow.com lg.jp localtonet.com ltd.uk maori.nz mex.com mine.nu msk.ru my-gateway.de my-
router.de myasustor.com mycloudnas.com mydns.jp mydns.tw mydns.vc myds.me myfritz.link myfritz.net myftp.biz
myftp.org mynascloud.com myqnapcloud.com myshopify.com mywire.org nerdpol.ovh net.ru netlify.app nfshost.com ngrok-
free.app ngrok-free.dev ngrok.app ngrok.dev ngrok.io nhs.uk nic.in no-ip.biz no-ip.ca no-ip.info no-ip.net no-ip.org
noho.st nohost.me noip.me noip.us notion.site now-dns.net now-dns.org now.sh nsupdate.info ondigitalocean.app
onrender.com onthewifi.com ooguy.com org.ru pages.dev pantheonsite.io plc.uk podzone.net podzone.org police.uk pp.ru
pp.ua pythonanywhere.com qzz.io r2.dev readthedocs.io redirectme.net remotewd.com repl.co replit.app res.in ru.com
sa.com school.nz se.net selfip.biz selfip.com selfip.info selfip.net selfip.org servebeer.com serveblog.net
serveftp.com servegame.com servehttp.com servemp3.com servequake.com spb.ru spdns.de spdns.eu spdns.org square.site
srht.site streamlit.app supabase.co surge.sh synology.me sytes.net theworkpc.com trafficmanager.net
trycloudflare.com ts.net uber.space uk.com uk.net us.com us.org vercel.app vercel.dev web.app webflow.io webhop.info
webhop.me webhop.net webhop.org withgoogle.com wixsite.com wixstudio.io workers.dev ynh.fr za.com za.net za.org
zapto.org
"""

_SUFFIXES = {f"{label}.{tld}" for label, tlds in _BELOW_COUNTRIES.items() for tld in tlds.split()} | set(
    _SHARED.split()
)


def is_public_suffix(domain: str) -> bool:
    """Return whether ``domain``, in lower case, is known to be a public suffix: of one label, or listed above."""
    _, dot, rest = domain.partition(".")
    return not dot or domain in _SUFFIXES or rest in _EVERYTHING_BELOW.split()
