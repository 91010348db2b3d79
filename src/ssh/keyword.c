/* The table at the end of this file says of every keyword that `ssh -G` of OpenSSH 9.2 prints (a
 * test compares) whether it counts, is passed over on purpose, or is refused.
 *
 * Three decisions in it. StrictHostKeyChecking: always "yes" here, also where it says accept-new
 * or no; nobody may be there to ask, and a guest's memory and disks go to whoever answers; but who
 * wrote it is told so. What makes a host trusted in other ways (DNS, a command, certificates) is
 * passed over: then less is trusted, not more. What distrusts (RevokedHostKeys) or leads
 * elsewhere (BindInterface) is refused if it cannot be honoured. */
#include "ssh/keyword.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#define NUMBER_MAX 86400 /* of seconds, attempts, and a port */

enum kind {
	PASSED,  /* over; `why` */
	WORD,    /* a string */
	TEXT,    /* the same, but "none": NULL */
	FILES,   /* names in one line */
	EACH,    /* a name a line; "none": none */
	FLAG,    /* yes or no */
	NUMBER,  /* "none": 0 */
	OWN,     /* `take` */
	REFUSED, /* unless it is "no" or "none"; `why` is the way out */
};

struct keyword {
	const char *name;
	enum kind kind;
	const char *why;
	size_t offset; /* in struct ssh_config */
	int (*take)(struct ssh_config *c, const char *host, const char *value, struct err *err);
};

static void set(char **to, const char *value)
{
	free(*to);
	*to = str_dup(value);
}

static bool is_yes(const char *value)
{
	return strcmp(value, "yes") == 0 || strcmp(value, "true") == 0;
}

static bool is_no(const char *value)
{
	return strcmp(value, "no") == 0 || strcmp(value, "false") == 0 ||
	       strcmp(value, "none") == 0;
}

static int number(const char *value)
{
	long n = strtol(value, NULL, 10);

	return n < 0 ? 0 : n > NUMBER_MAX ? NUMBER_MAX : (int)n;
}

/* Several file names in one value. `ssh -G` of 9.2 puts one with blanks in it in no quotes, so
 * that cannot be told from two; others may. */
static void add_files(struct ssh_names *names, char *value)
{
	while (*value) {
		char end = ' ';
		char *start = value;

		if (*value == '"') {
			end = '"';
			start = ++value;
		}
		value += strcspn(value, end == '"' ? "\"" : " ");
		if (*value)
			*value++ = '\0';
		if (*start && strcmp(start, "none") != 0)
			names_add(names, str_dup(start));
	}
}

void keyword_set_agent(struct ssh_config *c, const char *value)
{
	const char *env = value;

	if (value[0] == '$' && value[1] != '{')
		env = getenv(value + 1);
	else if (strcmp(value, "SSH_AUTH_SOCK") == 0)
		env = getenv("SSH_AUTH_SOCK");
	set(&c->agent, env && *env && strcmp(env, "none") != 0 ? env : NULL);
}

static int take_agent(struct ssh_config *c, const char *host, const char *value, struct err *err)
{
	(void)host;
	(void)err;
	keyword_set_agent(c, value);
	return 0;
}

static int take_family(struct ssh_config *c, const char *host, const char *value, struct err *err)
{
	(void)host;
	(void)err;
	c->family = str_eq(value, "inet") ? AF_INET : str_eq(value, "inet6") ? AF_INET6 : AF_UNSPEC;
	return 0;
}

static int take_timeout(struct ssh_config *c, const char *host, const char *value, struct err *err)
{
	(void)host;
	(void)err;
	if (number(value) > 0)
		c->connect_timeout_ms = (int64_t)number(value) * 1000;
	return 0;
}

/* "ask", "yes" (printed as "true"), or what makes ssh(1) less strict. */
static int take_strict(struct ssh_config *c, const char *host, const char *value, struct err *err)
{
	(void)host;
	(void)err;
	set(&c->not_strict, is_no(value) ? "no" : strcmp(value, "accept-new") == 0 ? value : NULL);
	return 0;
}

static int refuse_without_keys(const char *host, const char *words, struct err *err)
{
	return err_set(err, ERR_REFUSED,
		       "%s: ssh_config has %s for it, but vmferry logs in by public key only", host,
		       words);
}

static int take_publickey(struct ssh_config *c, const char *host, const char *value,
			  struct err *err)
{
	(void)c;
	return is_no(value) ? refuse_without_keys(host, "PubkeyAuthentication no", err) : 0;
}

static int take_methods(struct ssh_config *c, const char *host, const char *value, struct err *err)
{
	_autofree_ char *words = str_printf("PreferredAuthentications %s", value);

	(void)c;
	return names_in_list(value, "publickey") ? 0 : refuse_without_keys(host, words, err);
}

/* Keys that no function of libssh2 can use are said to be there when nothing else helps. */
static int take_certificate(struct ssh_config *c, const char *host, const char *value,
			    struct err *err)
{
	(void)host;
	(void)err;
	names_add(&c->useless, str_printf("CertificateFile %s: certificates of users cannot be "
					  "used with libssh2",
					  value));
	return 0;
}

static int take_pkcs11(struct ssh_config *c, const char *host, const char *value, struct err *err)
{
	(void)host;
	(void)err;
	if (!is_no(value))
		names_add(&c->useless, str_printf("PKCS11Provider %s: add its keys to the agent "
						  "(ssh-add -s %s)",
						  value, value));
	return 0;
}

#define SAVED(field) NULL, offsetof(struct ssh_config, field), NULL
#define BY(function) NULL, 0, function
#define WHY(words) words, 0, NULL

static const char by_ssh[] = "ssh -G has heeded it already";
static const char no_shell[] = "for a person at a shell";
static const char no_forward[] = "nothing is forwarded but monitors, to ourselves";
static const char only_keys[] = "of ways to log in only keys are used";
static const char trusts[] = "would only make more hosts trusted";
static const char not_here[] = "libssh2 decides, and no harm comes of it";

static const struct keyword keywords[] = {
	{"addkeystoagent", PASSED, WHY("the user's agent is left as it is")},
	{"addressfamily", OWN, BY(take_family)},
	{"batchmode", FLAG, SAVED(batch)},
	{"bindaddress", TEXT, SAVED(bind_address)},
	{"BindInterface", REFUSED, WHY("name the address, with BindAddress")},
	{"canonicaldomains", PASSED, WHY(by_ssh)},
	{"canonicalizefallbacklocal", PASSED, WHY(by_ssh)},
	{"canonicalizehostname", PASSED, WHY(by_ssh)},
	{"canonicalizemaxdots", PASSED, WHY(by_ssh)},
	{"canonicalizepermittedcnames", PASSED, WHY(by_ssh)},
	{"casignaturealgorithms", PASSED, WHY("no certificates are checked")},
	{"certificatefile", OWN, BY(take_certificate)},
	{"checkhostip", PASSED, WHY("the name is checked")},
	{"ciphers", TEXT, SAVED(ciphers)},
	{"clearallforwardings", PASSED, WHY(no_forward)},
	{"compression", PASSED, WHY("only words go through it, no disks and no RAM")},
	{"connectionattempts", NUMBER, SAVED(attempts)},
	{"connecttimeout", OWN, BY(take_timeout)},
	{"controlmaster", PASSED, WHY("a session of its own")},
	{"controlpath", PASSED, WHY("a session of its own")},
	{"controlpersist", PASSED, WHY("a session of its own")},
	{"dynamicforward", PASSED, WHY(no_forward)},
	{"enableescapecommandline", PASSED, WHY(no_shell)},
	{"enablesshkeysign", PASSED, WHY(only_keys)},
	{"escapechar", PASSED, WHY(no_shell)},
	{"exitonforwardfailure", PASSED, WHY(no_forward)},
	{"fingerprinthash", PASSED, WHY("SHA256 always")},
	{"forkafterauthentication", PASSED, WHY(no_shell)},
	{"forwardagent", PASSED, WHY(no_forward)},
	{"forwardx11", PASSED, WHY(no_forward)},
	{"forwardx11timeout", PASSED, WHY(no_forward)},
	{"forwardx11trusted", PASSED, WHY(no_forward)},
	{"gatewayports", PASSED, WHY(no_forward)},
	{"globalknownhostsfile", FILES, SAVED(global_known_hosts)},
	{"gssapiauthentication", PASSED, WHY(only_keys)},
	{"gssapiclientidentity", PASSED, WHY(only_keys)},
	{"gssapidelegatecredentials", PASSED, WHY(only_keys)},
	{"gssapikexalgorithms", PASSED, WHY(only_keys)},
	{"gssapikeyexchange", PASSED, WHY(only_keys)},
	{"gssapirenewalforcesrekey", PASSED, WHY(only_keys)},
	{"gssapiserveridentity", PASSED, WHY(only_keys)},
	{"gssapitrustdns", PASSED, WHY(only_keys)},
	{"hashknownhosts", PASSED, WHY("no known_hosts is written")},
	{"host", PASSED, WHY(by_ssh)},
	{"hostbasedacceptedalgorithms", PASSED, WHY(only_keys)},
	{"hostbasedauthentication", PASSED, WHY(only_keys)},
	{"hostkeyalgorithms", TEXT, SAVED(host_key_algorithms)},
	{"hostkeyalias", TEXT, SAVED(key_name)},
	{"hostname", WORD, SAVED(hostname)},
	{"identitiesonly", FLAG, SAVED(identities_only)},
	{"identityagent", OWN, BY(take_agent)},
	{"identityfile", EACH, SAVED(identities)},
	{"ignoreunknown", PASSED, WHY(by_ssh)},
	{"ipqos", PASSED, WHY(not_here)},
	{"kbdinteractiveauthentication", PASSED, WHY(only_keys)},
	{"kbdinteractivedevices", PASSED, WHY(only_keys)},
	{"kexalgorithms", TEXT, SAVED(kex_algorithms)},
	{"knownhostscommand", PASSED, WHY(trusts)},
	{"localcommand", PASSED, WHY(no_shell)},
	{"localforward", PASSED, WHY(no_forward)},
	{"loglevel", PASSED, WHY(no_shell)},
	{"logverbose", PASSED, WHY(no_shell)},
	{"macs", TEXT, SAVED(macs)},
	{"nohostauthenticationforlocalhost", PASSED, WHY(trusts)},
	{"numberofpasswordprompts", PASSED, WHY("three times, as by default")},
	{"passwordauthentication", PASSED, WHY(only_keys)},
	{"permitlocalcommand", PASSED, WHY(no_shell)},
	{"permitremoteopen", PASSED, WHY(no_forward)},
	{"pkcs11provider", OWN, BY(take_pkcs11)},
	{"port", NUMBER, SAVED(port)},
	{"preferredauthentications", OWN, BY(take_methods)},
	{"proxycommand", TEXT, SAVED(proxy_command)},
	{"proxyjump", TEXT, SAVED(proxy_jump)},
	{"ProxyUseFdpass", REFUSED,
	 WHY("a ProxyCommand whose stdin and stdout are the connection is no "
	     "problem")},
	{"pubkeyacceptedalgorithms", TEXT, SAVED(key_algorithms)},
	{"pubkeyauthentication", OWN, BY(take_publickey)},
	{"rekeylimit", PASSED, WHY(not_here)},
	{"remotecommand", PASSED, WHY(no_shell)},
	{"remoteforward", PASSED, WHY(no_forward)},
	{"requesttty", PASSED, WHY(no_shell)},
	{"requiredrsasize", PASSED,
	 WHY("RSA keys of hosts are not taken, those of users by the server")},
	{"RevokedHostKeys", REFUSED, WHY("@revoked lines in known_hosts count")},
	{"securitykeyprovider", PASSED, WHY("FIDO keys cannot be used with libssh2")},
	{"sendenv", PASSED, WHY(no_shell)},
	{"serveralivecountmax", NUMBER, SAVED(alive_count_max)},
	{"serveraliveinterval", NUMBER, SAVED(alive_interval_s)},
	{"sessiontype", PASSED, WHY(no_shell)},
	{"setenv", PASSED, WHY(no_shell)},
	{"stdinnull", PASSED, WHY(no_shell)},
	{"streamlocalbindmask", PASSED, WHY(no_forward)},
	{"streamlocalbindunlink", PASSED, WHY(no_forward)},
	{"stricthostkeychecking", OWN, BY(take_strict)},
	{"syslogfacility", PASSED, WHY(no_shell)},
	{"tcpkeepalive", FLAG, SAVED(tcp_keepalive)},
	{"tunnel", PASSED, WHY(no_forward)},
	{"tunneldevice", PASSED, WHY(no_forward)},
	{"updatehostkeys", PASSED, WHY("no known_hosts is written")},
	{"user", WORD, SAVED(user)},
	{"userknownhostsfile", FILES, SAVED(known_hosts)},
	{"verifyhostkeydns", PASSED, WHY(trusts)},
	{"visualhostkey", PASSED, WHY(no_shell)},
	{"xauthlocation", PASSED, WHY(no_forward)},
};

/* The case of those of ssh -G is not always the same (seen with 9.2:
 * "canonicalizePermittedcnames"). */
static const struct keyword *find(const char *name)
{
	for (size_t i = 0; i < sizeof(keywords) / sizeof(keywords[0]); i++)
		if (strcasecmp(keywords[i].name, name) == 0)
			return &keywords[i];
	return NULL;
}

bool keyword_is_known(const char *name)
{
	return find(name) != NULL;
}

static int refuse(const struct keyword *k, const char *host, const char *value, struct err *err)
{
	if (is_no(value))
		return 0;
	return err_set(err, ERR_REFUSED,
		       "%s: ssh_config has %s %s for it, which vmferry cannot heed: %s", host,
		       k->name, value, k->why);
}

int keyword_take(struct ssh_config *c, const char *host, const char *name, char *value,
		 struct err *err)
{
	const struct keyword *k = find(name);
	void *field = k ? (char *)c + k->offset : NULL;

	switch (k ? k->kind : PASSED) {
	case PASSED:
		break;
	case WORD:
		set(field, value);
		break;
	case TEXT:
		set(field, strcmp(value, "none") == 0 ? NULL : value);
		break;
	case FILES:
		add_files(field, value);
		break;
	case EACH:
		if (strcmp(value, "none") != 0)
			names_add(field, str_dup(value));
		break;
	case FLAG:
		*(bool *)field = is_yes(value);
		break;
	case NUMBER:
		*(int *)field = number(value);
		break;
	case OWN:
		return k->take(c, host, value, err);
	case REFUSED:
		return refuse(k, host, value, err);
	}
	return 0;
}
