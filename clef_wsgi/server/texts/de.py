"""German."""

TEXTS = {
    "continue.title": "Anmelden bei {site}",
    "continue.as": "Du bist angemeldet als {person}.",
    "continue.button": "Weiter zu {site}",
    "continue.switch": "Jemand anderes? Einen anderen Passkey verwenden.",
    "back.title": "Zurück zu {site}",
    "sign_in.title": "Anmelden",
    "sign_in.title_at": "Anmelden bei {site}",
    "sign_in.button": "Weiter mit deinem Passkey",
    "sign_in.back_to": "Danach geht es zurück zu {site}.",
    "sign_in.here": "Das ist {name}. Hier meldest du dich für alle deine Seiten an.",
    "sign_in.phone": (
        "Ist dein Passkey auf einem Handy in der Nähe? Wähl im Fenster, das aufgeht, „Smartphone oder "
        "Tablet“, und scann den Code."
    ),
    "enrol.title": "Leg deinen Passkey an",
    "enrol.what": (
        "Ein Passkey ersetzt dein Passwort: Du meldest dich mit Fingerabdruck, Gesicht oder der PIN deines Geräts an."
    ),
    "enrol.recovery": "Deine älteren Passkeys gelten nicht mehr.",
    "enrol.first_name": "Vorname",
    "enrol.last_name": "Nachname",
    "enrol.email": "E-Mail",
    "enrol.button": "Passkey anlegen",
    "enrol.sign_in": "Hast du deinen Passkey schon angelegt? Melde dich an.",
    "enrol.phone": (
        "Soll er auf ein Handy in der Nähe? Wähl im Fenster, das aufgeht, „Smartphone oder Tablet“, und scann den Code."
    ),
    "account.title": "Dein Konto",
    "account.signed_in": "Angemeldet als",
    "account.log_out": "Überall abmelden",
    "account.log_out_what": "In jedem Browser und auf jeder Seite. Du siehst, wie jede Seite es bestätigt.",
    "account.passkeys": "Deine Passkeys",
    "account.passkeys_change": "Hinzufügen, umbenennen, entfernen",
    "account.sites": "Deine Seiten",
    "account.sites_none": "Du bist auf keiner Seite angemeldet.",
    "account.sites_what": "Wo du angemeldet bist.",
    "account.since": "Seit",
    "account.log_out_of": "Abmelden",
    "account.unheard": "Noch nicht benachrichtigt",
    "account.unheard_what": "Diese Seiten wissen noch nicht, dass du dich abgemeldet hast.",
    "account.browsers": "Deine Browser",
    "account.browsers_what": (
        "Wo du hier angemeldet bist. Wer einen beendet, beendet auch die Seiten, die in ihm begannen."
    ),
    "account.browser_used": "Zuletzt benutzt",
    "account.browser_on": "{browser} auf {device}",
    "account.browser": "Ein Browser",
    "account.browser_here": "Dieser Browser",
    "account.browser_until": "Bis",
    "account.browser_from": "von {address}",
    "account.stay": "Angemeldet bleiben",
    "account.stay_hour": "1 Stunde",
    "account.stay_day": "1 Tag",
    "account.stay_month": "30 Tage",
    "account.stay_logout": "Bis ich mich abmelde",
    "account.stay_what": (
        "Ist die Zeit um, erfahren es auch deine Seiten. Eine kürzere gilt sofort, von jetzt an, in allen deinen "
        "Browsern; eine längere ab deiner nächsten Anmeldung."
    ),
    "account.you": "Über dich",
    "account.first_name": "Vorname",
    "account.last_name": "Nachname",
    "account.email": "E-Mail",
    "account.phone": "Telefon",
    "account.save": "Speichern",
    "account.saved": "Gespeichert.",
    "account.fixed": "Das kann nur ändern, wer diesen Server betreibt.",
    "account.names_what": "Seiten sehen einen neuen Namen, sobald du dich dort wieder anmeldest.",
    "receipts.title_busy": "Deine Seiten erfahren es gerade",
    "receipts.title_everywhere": "Überall abgemeldet",
    "receipts.title_done": "Abgemeldet",
    "receipts.title_bad": "Noch nicht jede Seite weiß es",
    "receipts.here_everywhere": "Hier bist du abgemeldet, in diesem und in allen anderen Browsern.",
    "receipts.here_site": "Hier bist du weiter angemeldet.",
    "receipts.here_browser": "Der Browser ist hier abgemeldet.",
    "receipts.heard": "{heard} von {all} bestätigt",
    "receipts.all_heard": "Jede Seite hat es bestätigt.",
    "receipts.no_sites": "Es gab keine Seite zu benachrichtigen.",
    "receipts.telling": "erfährt es gerade",
    "receipts.confirmed": "bestätigt in {span}",
    "receipts.asking": "hat geantwortet und muss noch fragen, wen sie abmelden soll",
    "receipts.not_asked": "hat geantwortet, aber nicht gefragt, wen sie abmelden soll",
    "receipts.again_in": "neuer Versuch in {span}",
    "receipts.again_now": "neuer Versuch läuft",
    "receipts.given_up": "aufgegeben: Melde dich dort selbst ab",
    "receipts.no_webhook": "nicht zu benachrichtigen: Melde dich dort selbst ab",
    "receipts.unreachable": "nicht erreichbar seit",
    "receipts.answers_badly": "antwortet mit einem Fehler seit",
    "receipts.refused_address": (
        "ihre Adresse ist nicht zugelassen; sag der Person Bescheid, die diesen Server betreibt"
    ),
    "receipts.reload": "Noch einmal nachsehen",
    "receipts.kept": (
        "Du kannst in diesem Browser eine Stunde lang auf diese Seite zurückkommen. Der Server versucht es auch danach "
        "weiter."
    ),
    "receipts.none": "Nichts zu sehen",
    "receipts.none_what": (
        "Was aus einer Abmeldung wurde, steht hier eine Stunde lang, in dem Browser, den du dafür benutzt hast."
    ),
    "time.utc": "{day}.{month}.{year}, {time} UTC",
    "time.point": ",",
    "time.seconds": "{number} s",
    "time.minutes": "{number} min",
    "time.hours": "{number} Std.",
    "time.days": "{number} Tagen",
    "passkeys.title": "Deine Passkeys",
    "passkeys.second": (
        "Du hast nur einen. Leg einen zweiten an, auf einem anderen Gerät oder einem Sicherheitsschlüssel, "
        "falls du ihn verlierst."
    ),
    "passkeys.none": (
        "Du hast keinen Passkey. Lass dir von der Person, die diesen Server betreibt, einen Link geben, mit dem du "
        "einen anlegst."
    ),
    "passkeys.this": "Mit diesem hast du dich angemeldet.",
    "passkeys.synced": "Auf deinen Geräten synchronisiert",
    "passkeys.single": "Nur auf einem Gerät",
    "passkeys.made": "Angelegt",
    "passkeys.used": "zuletzt benutzt",
    "passkeys.unused": "noch nicht benutzt",
    "passkeys.change": "Umbenennen oder entfernen",
    "passkeys.name": "Name",
    "passkeys.rename": "Umbenennen",
    "passkeys.remove": "Entfernen",
    "passkeys.remove_what": "Er öffnet dann nichts mehr, und Browser, die mit ihm angemeldet sind, werden abgemeldet.",
    "passkeys.last": (
        "Er lässt sich nicht entfernen, denn er ist dein einziger: Ohne ihn könntest du dich nicht mehr anmelden. Leg "
        "zuerst einen anderen an."
    ),
    "passkeys.add": "Passkey hinzufügen",
    "passkeys.fresh": "Vor dem Hinzufügen und Entfernen wirst du nach einem Passkey gefragt, den du schon hast.",
    "passkeys.back": "Dein Konto",
    "button.login": "Mit {name} anmelden",
    "button.register": "Mit {name} registrieren",
    "button.connect": "Mit {name} verbinden",
    "problem.no_script": "Passkeys brauchen JavaScript. Schalt es bitte für diese Seite ein und lade sie neu.",
    "problem.unsupported": (
        "Dieser Browser kann keine Passkeys verwenden. Aktualisier ihn bitte, oder nimm einen anderen."
    ),
    "problem.cancelled": (
        "Das wurde abgebrochen, oder es war kein Passkey zu finden. Es ist nichts geschehen; du kannst es "
        "noch einmal versuchen."
    ),
    "problem.known": "Dieses Gerät hat schon einen Passkey für dich. Verwende ihn, oder wähl ein anderes Gerät.",
    "problem.offline": "Der Server ist nicht erreichbar. Prüf deine Verbindung und versuch es dann noch einmal.",
    "problem.unexpected": "Etwas ist schiefgegangen. Lade diese Seite bitte neu.",
    "late.title": "{site} weiß es noch nicht",
    "late.what": (
        "Du hast dich abgemeldet, und {site} war bisher nicht zu erreichen. Wenn du dich dort jetzt anmeldest, endet "
        "vielleicht auch diese Anmeldung, sobald die Seite davon erfährt. Hier wird weiter nachgefragt, und dann geht "
        "es von selbst weiter."
    ),
    "late.button": "Trotzdem bei {site} anmelden",
    "failure_timeout": "Sie hat nicht rechtzeitig geantwortet.",
    "failure_connection": "Sie ist nicht erreichbar.",
    "failure_no_address": "Zu ihrem Namen gibt es keine Adresse.",
    "failure_refused_address": "Ihre Adresse liegt in einem privaten Netz, und das wurde für sie nicht erlaubt.",
    "failure_tls": "Ihr Zertifikat lässt sich nicht prüfen.",
    "failure_not_asked": "Sie hat geantwortet, aber nie gefragt, wer sich abgemeldet hat: Stimmt ihr Geheimnis?",
    "failure_answer": "Sie hat eine Antwort gegeben, die keinen Sinn ergibt.",
    "failure_http": "Sie hat mit Status {status} geantwortet.",
    "error.home": "Zur Startseite",
    "error.reference": "Kennung: {reference}",
    "error.invalid_redirect.title": "Dieser Link funktioniert nicht",
    "error.invalid_redirect.text": "Ungültige Rücksprungadresse. Geh bitte zurück zur Seite, von der du kommst.",
    "error.invalid_login.title": "Dieser Link funktioniert nicht",
    "error.invalid_login.text": "Die Seite hat die Anmeldung auf eine Art verlangt, die es hier nicht gibt.",
    "error.not_allowed.title": "Du darfst {site} nicht benutzen",
    "error.not_allowed.text": (
        "Du bist angemeldet als {person} und darfst {site} nicht benutzen. Frag die Person, die diesen Server "
        "betreibt, oder verwende einen anderen Passkey."
    ),
    "error.not_allowed.way": "Einen anderen Passkey verwenden",
    "error.logged_out.title": "Du wurdest abgemeldet",
    "error.logged_out.text": "Du hast dich während dieser Anmeldung abgemeldet. Bitte melde dich neu an.",
    "error.logged_out.way": "Neu anmelden",
    "error.other_host.title": "Dieser Server heißt anders",
    "error.other_host.text": "Gefragt war {asked}, und dieser Server ist {own}. Öffne ihn dort. Ein Proxy davor "
    "muss Host weitergeben.",
    "error.other_site.title": "Das kam nicht von hier",
    "error.other_site.text": "Das hat keine Seite dieses Servers gesendet. Es ist nichts geschehen.",
    "error.old_page.title": "Diese Seite ist zu alt",
    "error.old_page.text": "Cookies sind gesperrt, oder die Seite war lange offen. Lade sie neu.",
    "error.too_many.title": "Zu viele Versuche",
    "error.too_many.text": "Warte bitte eine Minute und versuch es dann noch einmal.",
    "error.unavailable.title": "Gerade nicht möglich",
    "error.unavailable.text": "Die Datenbank ist gerade nicht erreichbar. Es ist nichts geschehen. Versuch es später.",
    "error.not_found.title": "Diese Seite gibt es nicht",
    "error.not_found.text": "Prüf die Adresse, oder geh dorthin zurück, woher du kommst.",
    "error.wrong_method.title": "So geht das nicht",
    "error.wrong_method.text": "Diese Adresse lässt sich so nicht öffnen.",
    "error.too_large.title": "Das war zu viel",
    "error.too_large.text": "Es wurde mehr gesendet, als dieser Server liest.",
    "error.unexpected.title": "Etwas ist schiefgegangen",
    "error.unexpected.text": "Es lag nicht an dir. Versuch es bitte noch einmal.",
    "error.no_script.title": "Dafür braucht es JavaScript",
    "error.no_script.text": "Passkeys brauchen JavaScript. Schalt es bitte ein, geh zurück und lade die Seite neu.",
    "error.bad_request.title": "Das war nicht zu lesen",
    "error.bad_request.text": "Lade die Seite bitte neu und versuch es dann noch einmal.",
    "error.passkey_refused.title": "Der Passkey wurde nicht angenommen",
    "error.passkey_refused.text": (
        "Der Passkey wurde nicht angenommen. Versuch es bitte noch einmal. Wenn das nicht hilft, frag die "
        "Person, die diesen Server betreibt."
    ),
    "error.passkey_copied.title": "Der Passkey wurde nicht angenommen",
    "error.passkey_copied.text": (
        "Von diesem Passkey gibt es vielleicht eine Kopie, darum wurde er nicht angenommen. Nimm einen "
        "anderen, und sag der Person Bescheid, die diesen Server betreibt."
    ),
    "error.disabled.title": "Dein Konto ist gesperrt",
    "error.disabled.text": "Dein Konto ist gesperrt. Frag die Person, die diesen Server betreibt.",
    "error.signed_out.title": "Du bist abgemeldet",
    "error.signed_out.text": "Du bist abgemeldet. Bitte melde dich neu an.",
    "error.link_invalid.title": "Dieser Link funktioniert nicht mehr",
    "error.link_invalid.text": (
        "Dieser Link funktioniert nicht: Er wurde benutzt, ist zu alt, oder es fehlt ein Stück. Lass dir "
        "einen neuen geben."
    ),
    "error.bad_name.title": "Dieser Name geht nicht",
    "error.bad_name.text": "Ein Name hat höchstens 64 Zeichen, und keine unsichtbaren.",
    "error.last_passkey.title": "Das ist dein letzter Passkey",
    "error.last_passkey.text": "Ohne ihn könntest du dich nicht mehr anmelden. Leg zuerst einen anderen an.",
}
