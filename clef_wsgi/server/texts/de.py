"""German."""

TEXTS = {
    "continue.title": "Anmelden bei {site}",
    "continue.as": "Du bist angemeldet als {person}.",
    "continue.button": "Weiter zu {site}",
    "continue.switch": "Jemand anderes? Einen anderen Passkey verwenden.",
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
    "enrol.phone": (
        "Soll er auf ein Handy in der Nähe? Wähl im Fenster, das aufgeht, „Smartphone oder Tablet“, und scann den Code."
    ),
    "account.title": "Dein Konto",
    "account.as": "Du bist angemeldet als {person}.",
    "account.log_out": "Überall abmelden",
    "account.passkeys": "Deine Passkeys",
    "passkeys.title": "Deine Passkeys",
    "passkeys.second": (
        "Du hast nur einen. Leg einen zweiten an, auf einem anderen Gerät oder einem Sicherheitsschlüssel, "
        "falls du ihn verlierst."
    ),
    "passkeys.this": "Mit diesem hast du dich angemeldet.",
    "passkeys.synced": "Auf deinen Geräten synchronisiert",
    "passkeys.single": "Nur auf einem Gerät",
    "passkeys.change": "Umbenennen oder entfernen",
    "passkeys.name": "Name",
    "passkeys.rename": "Umbenennen",
    "passkeys.remove": "Entfernen",
    "passkeys.remove_what": "Er öffnet dann nichts mehr, und Browser, die mit ihm angemeldet sind, werden abgemeldet.",
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
    "error.home": "Zur Startseite",
    "error.reference": "Kennung: {reference}",
    "error.invalid_redirect.title": "Dieser Link funktioniert nicht",
    "error.invalid_redirect.text": "Ungültige Rücksprungadresse. Geh bitte zurück zur Seite, von der du kommst.",
    "error.invalid_login.title": "Dieser Link funktioniert nicht",
    "error.invalid_login.text": "Die Seite hat die Anmeldung auf eine Art verlangt, die es hier nicht gibt.",
    "error.not_allowed.title": "Du darfst diese Seite nicht benutzen",
    "error.not_allowed.text": "Frag die Person, die diesen Server betreibt, ob sie dich zulässt.",
    "error.logged_out.title": "Du wurdest abgemeldet",
    "error.logged_out.text": "Du hast dich während dieser Anmeldung abgemeldet. Bitte melde dich neu an.",
    "error.other_host.title": "Dieser Server heißt anders",
    "error.other_host.text": "Öffne ihn unter seiner eigenen Adresse. Ein Proxy davor muss Host weitergeben.",
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
