/* SFTP version 3 (draft-ietf-secsh-filexfer-02), which is what OpenSSH speaks: its start, and one
 * request after the other. It has few error codes: nearly everything is SSH_FX_FAILURE. */
#include "ssh/sftp.h"

static bool init_step(struct ssh *ssh, void *arg)
{
	struct sftp_request *r = arg;

	ssh->sftp = libssh2_sftp_init(ssh->session);
	r->rc = ssh->sftp ? 0 : libssh2_session_last_errno(ssh->session);
	return r->rc != LIBSSH2_ERROR_EAGAIN;
}

/* libssh2_sftp_init opens a channel, so a timeout there leaves the session half-way. */
int sftp_start(struct ssh *ssh, struct err *err)
{
	struct sftp_request r = {0};
	char *text = NULL;

	if (ssh->sftp)
		return 0;
	if (ssh_channel_possible(ssh, err) < 0)
		return -1;
	if (ssh_io_run(ssh,
		       "the server's SFTP to start (is the program of \"Subsystem sftp\" there?)",
		       init_step, &r, err) < 0) {
		ssh->opening_stuck = true;
		return -1;
	}
	if (r.rc == 0)
		return 0;
	if (ssh_io_lost(ssh, r.rc))
		return ssh_io_closed(ssh, err);
	libssh2_session_last_error(ssh->session, &text, NULL, 0);
	return err_set(err, ERR_REFUSED,
		       "%s: the server has no SFTP (%s); its sshd_config needs a line "
		       "\"Subsystem sftp internal-sftp\"",
		       ssh->host, text ? text : "no reason given");
}

static const char *status_words(unsigned long status)
{
	switch (status) {
	case LIBSSH2_FX_NO_SUCH_FILE:
		return "no such file or directory";
	case LIBSSH2_FX_PERMISSION_DENIED:
		return "permission denied";
	case LIBSSH2_FX_OP_UNSUPPORTED:
		return "the server does not support it";
	case LIBSSH2_FX_FAILURE:
		return "failed over there, and SFTP does not say why (is the disk full, or "
		       "read-only?)";
	default:
		return "failed over there";
	}
}

int sftp_failed(struct ssh *ssh, const struct sftp_request *r, const char *verb, struct err *err)
{
	char *text = NULL;

	if (ssh_io_lost(ssh, r->rc))
		return ssh_io_closed(ssh, err);
	if (r->rc == LIBSSH2_ERROR_SFTP_PROTOCOL)
		return err_set(err, ERR_FAILED, "%s: %s %s: %s", ssh->host, verb, r->path,
			       status_words(r->status));
	if (r->rc == LIBSSH2_ERROR_CHANNEL_CLOSED)
		return err_set(err, ERR_FAILED, "%s: %s %s: the server's SFTP has ended", ssh->host,
			       verb, r->path);
	libssh2_session_last_error(ssh->session, &text, NULL, 0);
	return err_set(err, ERR_FAILED, "%s: %s %s: %s", ssh->host, verb, r->path,
		       text && *text ? text : "SFTP failed");
}

/* For an SFTP that does not answer, or not sensibly: its state is half-way. The next request
 * gets a new one, and this ends with the session. */
static void give_up_sftp(struct ssh *ssh)
{
	ssh->sftp = NULL;
}

/* libssh2 1.10.0 waits on when the SFTP server has ended (sftp_packet_read() in src/sftp.c takes
 * the end of the channel for "not yet"). */
static bool ask_step(struct ssh *ssh, void *arg)
{
	struct sftp_request *r = arg;

	if (r->step(ssh, r))
		return true;
	if (!libssh2_channel_eof(libssh2_sftp_get_channel(ssh->sftp)))
		return false;
	r->rc = LIBSSH2_ERROR_CHANNEL_CLOSED;
	return true;
}

int sftp_ask(struct ssh *ssh, const char *verb, bool (*step)(struct ssh *ssh, void *arg),
	     struct sftp_request *r, struct err *err)
{
	_autofree_ char *what = str_printf("SFTP to %s %s", verb, r->path);

	if (sftp_start(ssh, err) < 0)
		return -1;
	r->step = step;
	if (ssh_io_run(ssh, what, ask_step, r, err) < 0) {
		give_up_sftp(ssh);
		return -1;
	}
	if (r->rc == LIBSSH2_ERROR_SFTP_PROTOCOL) {
		r->status = libssh2_sftp_last_error(ssh->sftp);
		return 0;
	}
	if (r->rc == 0)
		return 0;
	sftp_failed(ssh, r, verb, err);
	give_up_sftp(ssh);
	return -1;
}

bool sftp_no_such_file(const struct sftp_request *r)
{
	return r->rc == LIBSSH2_ERROR_SFTP_PROTOCOL &&
	       (r->status == LIBSSH2_FX_NO_SUCH_FILE || r->status == LIBSSH2_FX_NO_SUCH_PATH);
}
