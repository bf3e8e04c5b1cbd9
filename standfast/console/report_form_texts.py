"""Texts of the form for staff, in the shipped languages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ReportFormTexts:
    """The texts in one language."""

    title: str
    lead: str
    urgent: str
    event: str
    event_hint: str
    account: str
    account_hint: str
    contact: str
    contact_hint: str
    send: str
    thanks: str
    thanks_call: str  # replaces `thanks` if nobody can be paged
    reference: str
    then: str
    empty: str
    again: str
    too_often: str
    failed: str


WORDS: Mapping[str, ReportFormTexts] = {
    "en": ReportFormTexts(
        title="Report something suspicious",
        lead="A strange call, a mail that asks for a password, an account that does things by "
        "itself: tell us, even if you are not sure. You need no account for this, and nobody is "
        "blamed for a false alarm.",
        urgent="If it is happening right now, call",
        event="What happened?",
        event_hint="What you saw or heard, and when. Please write no passwords and no card "
        "numbers.",
        account="Whose account or which device? (if you know)",
        account_hint="A sign-in name, a telephone number, the name on a screen.",
        contact="How can we reach you? (if you like)",
        contact_hint="Your name, your extension or where you sit.",
        send="Send the report",
        thanks="Thank you. The person on call is being notified.",
        thanks_call="Thank you, your report is stored. Please also call, so that somebody sees it "
        "soon: the number is below.",
        reference="Reference",
        then="Nothing was locked or changed by your report: a person looks at it first. If you "
        "notice more, send another report and name the reference.",
        empty="Please say what happened.",
        again="This page was open for too long, or the form was sent from another site. Your text "
        "is still here: please send it again.",
        too_often="Many reports came from here in a short time. Please call instead, or try again "
        "in a few minutes. Your text is still here.",
        failed="The report could not be stored. Please call, or try again in a minute. Your text "
        "is still here.",
    ),
    "de": ReportFormTexts(
        title="Etwas Verdächtiges melden",
        lead="Ein seltsamer Anruf, eine E-Mail, die nach einem Passwort fragt, ein Konto, das von "
        "selbst etwas tut: Sagen Sie es uns, auch wenn Sie nicht sicher sind. Sie brauchen dafür "
        "kein Konto, und niemandem wird ein Fehlalarm vorgeworfen.",
        urgent="Wenn es gerade jetzt geschieht, rufen Sie an",
        event="Was ist geschehen?",
        event_hint="Was Sie gesehen oder gehört haben, und wann. Bitte keine Passwörter und keine "
        "Kartennummern.",
        account="Wessen Konto oder welches Gerät? (falls bekannt)",
        account_hint="Ein Anmeldename, eine Telefonnummer, der Name auf einem Bildschirm.",
        contact="Wie erreichen wir Sie? (wenn Sie möchten)",
        contact_hint="Ihr Name, Ihre Durchwahl oder wo Sie sitzen.",
        send="Meldung absenden",
        thanks="Danke. Die Person in Bereitschaft wird benachrichtigt.",
        thanks_call="Danke, Ihre Meldung ist gespeichert. Damit sie bald jemand sieht, rufen Sie "
        "bitte auch an: Die Nummer steht unten.",
        reference="Kennzeichen",
        then="Durch Ihre Meldung wurde nichts gesperrt oder geändert: Zuerst sieht sie sich ein "
        "Mensch an. Fällt Ihnen mehr auf, melden Sie sich noch einmal und nennen Sie das "
        "Kennzeichen.",
        empty="Bitte schreiben Sie, was geschehen ist.",
        again="Die Seite war zu lange offen oder wurde von anderswo abgesendet. Ihr Text ist noch "
        "da: Bitte senden Sie ihn noch einmal.",
        too_often="Von hier kamen in kurzer Zeit viele Meldungen. Bitte rufen Sie an, oder "
        "versuchen Sie es in einigen Minuten wieder. Ihr Text ist noch da.",
        failed="Die Meldung konnte nicht angenommen werden. Bitte rufen Sie an, oder versuchen Sie "
        "es in einer Minute wieder. Ihr Text ist noch da.",
    ),
    "es": ReportFormTexts(
        title="Avisar de algo sospechoso",
        lead="Una llamada extraña, un correo que pide una contraseña, una cuenta que hace cosas "
        "sola: díganoslo, aunque no esté seguro. No necesita ninguna cuenta para ello, y a nadie "
        "se le reprocha una falsa alarma.",
        urgent="Si está ocurriendo ahora mismo, llame a",
        event="¿Qué ha pasado?",
        event_hint="Lo que vio u oyó, y cuándo. Por favor, no escriba contraseñas ni números de "
        "tarjeta.",
        account="¿De quién es la cuenta o qué equipo es? (si lo sabe)",
        account_hint="Un nombre de usuario, un teléfono, el nombre que aparece en una pantalla.",
        contact="¿Cómo podemos localizarle? (si quiere)",
        contact_hint="Su nombre, su extensión o dónde se sienta.",
        send="Enviar el aviso",
        thanks="Gracias. Se está avisando a la persona de guardia.",
        thanks_call="Gracias, su aviso ha quedado guardado. Para que alguien lo vea pronto, llame "
        "también, por favor: el número está abajo.",
        reference="Referencia",
        then="Su aviso no ha bloqueado ni cambiado nada: antes lo mira una persona. Si nota algo "
        "más, envíe otro aviso y cite la referencia.",
        empty="Por favor, cuente qué ha pasado.",
        again="La página estuvo abierta demasiado tiempo o se envió desde otro sitio. Su texto "
        "sigue aquí: envíelo otra vez, por favor.",
        too_often="Desde aquí llegaron muchos avisos en poco tiempo. Llame, por favor, o inténtelo "
        "de nuevo dentro de unos minutos. Su texto sigue aquí.",
        failed="No se ha podido recibir el aviso. Llame, por favor, o inténtelo de nuevo dentro de "
        "un minuto. Su texto sigue aquí.",
    ),
    "fr": ReportFormTexts(
        title="Signaler quelque chose de suspect",
        lead="Un appel étrange, un courriel qui demande un mot de passe, un compte qui agit tout "
        "seul : dites-le-nous, même sans être sûr. Aucun compte n’est nécessaire, et personne "
        "n’est blâmé pour une fausse alerte.",
        urgent="Si cela se passe en ce moment, appelez",
        event="Que s’est-il passé ?",
        event_hint="Ce que vous avez vu ou entendu, et quand. N’écrivez ni mot de passe ni numéro "
        "de carte.",
        account="Le compte de qui, ou quel appareil ? (si vous le savez)",
        account_hint="Un identifiant, un numéro de téléphone, le nom affiché à l’écran.",
        contact="Comment vous joindre ? (si vous le souhaitez)",
        contact_hint="Votre nom, votre poste ou votre place.",
        send="Envoyer le signalement",
        thanks="Merci. La personne d’astreinte est prévenue.",
        thanks_call="Merci, votre signalement est enregistré. Pour que quelqu’un le voie vite, "
        "appelez aussi, s’il vous plaît : le numéro est ci-dessous.",
        reference="Référence",
        then="Votre signalement n’a rien bloqué ni modifié : une personne l’examine d’abord. Si "
        "vous remarquez autre chose, envoyez un nouveau signalement en citant la référence.",
        empty="Dites-nous ce qui s’est passé.",
        again="La page est restée ouverte trop longtemps ou a été envoyée d’ailleurs. Votre texte "
        "est toujours là : envoyez-le encore une fois.",
        too_often="Beaucoup de signalements sont venus d’ici en peu de temps. Appelez, ou "
        "réessayez dans quelques minutes. Votre texte est toujours là.",
        failed="Le signalement n’a pas pu être reçu. Appelez, ou réessayez dans une minute. Votre "
        "texte est toujours là.",
    ),
}


def pick(accepted: str, preferred: Sequence[str]) -> str:
    """Return the language of the reader, the installation, or English."""
    wanted = [part.partition(";")[0].strip().lower() for part in accepted[:500].split(",")]
    for language in (*wanted, *(name.lower() for name in preferred)):
        short = language.partition("-")[0]
        if short in WORDS:
            return short
    return "en"
