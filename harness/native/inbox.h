/* Messages that are received, and answers to own ones, as in client/session.py and client/outbox.py. Part of _hot.c.

   Functions for one frame return 1 if it is recorded, 0 if it is "not mine" and nothing is changed, -1 for an error. */

enum { M_ROOM, M_TEXT, M_SEQ, M_SENDER, M_ID };     /* slots of messages and acknowledgements, as in client/envelope.py */
enum { R_ID, R_CODE, R_RETRY, R_UNLESS };           /* of refusals */

/* Find a message that waits for its answer, and nothing unusual about it: 1 found, 0 not mine, -1 an error.
   `sent->object` is a reference then. */
static int find_sent(Core *c, PyObject *message_id, Sent *sent) {
    PyObject *tuple = PyDict_GetItemWithError(c->pending, message_id);
    if (tuple == NULL) return PyErr_Occurred() ? -1 : 0;
    int posted = PySet_Size(c->posted) > 0 ? PySet_Contains(c->posted, message_id) : 0;
    if (posted) return posted < 0 ? -1 : 0;
    return read_sent(tuple, sent);
}

/* Note the number of a question whose answer has not begun, as `Questions.numbered` does. */
static int numbered(Core *c, PyObject *message_id, PyObject *label, int64_t seq) {
    int open = PyDict_Contains(c->open, message_id);
    if (open != 1) return open;
    PyObject *questions = get(c->session, QUESTIONS), *numbers = NULL, *key = Py_BuildValue("(OL)", label, (long long)seq);
    int done = -1;
    if (questions != NULL && key != NULL && (numbers = get_table(questions, BY_NUMBER, &PyDict_Type)) != NULL)
        done = PyDict_SetItem(numbers, key, message_id);
    if (done == 0 && PyDict_Size(numbers) > OPEN_MAX) done = drop_oldest(numbers);
    Py_XDECREF(questions);
    Py_XDECREF(key);
    Py_XDECREF(numbers);
    return done;
}

static int acknowledged(Core *c, int64_t now, int64_t seq, PyObject *message_id, const Sent *sent) {
    if (PyDict_DelItem(c->pending, message_id) < 0) return -1;
    pen_put(c->pen, now, K_OK, 0, (uint8_t)sent->attempt, (uint8_t)sent->proc, c->client, c->conn, sent->conv, c->client,
            sent->counter, seq, NONE, 0, 0);
    if (seq != NONE && PyDict_Size(c->open) > 0 && numbered(c, message_id, sent->label, seq) < 0) return -1;
    histogram_count(c->latency, (long long)((uint64_t)now - (uint64_t)sent->sent_ns));
    histogram_count(c->from_plan, (long long)((uint64_t)now - (uint64_t)sent->planned_ns));
    c->session->acked++;
    if (seq == NONE) c->session->acked_unnumbered++;
    else if (raise_to(c->acked_seq, sent->label, seq) < 0) return -1;
    return call_on_answer(c);
}

/* -- messages ------------------------------------------------------------------------------------------------------- */

/* What a frame says, once it is known to be mine. */
typedef struct {
    int64_t seq, sender;
    const uint8_t *p;
    Py_ssize_t size;
    Body body;
    PyObject *label;
    uint8_t flags;
    int planned;
} Heard;

/* A text that is no body: 1 if an agent of the platform wrote it, 0 not mine, -1 an error. */
static int of_agent(Core *c, const Value *sender, Heard *h) {
    if (c->strangers || PySet_Size(c->agents) <= 0 || (h->size >= 4 && !memcmp(h->p, "ew1:", 4))) return 0;
    PyObject *name = plain_name(sender);
    if (name == NULL) return PyErr_Occurred() ? -1 : 0;
    int found = PySet_Contains(c->agents, name);
    Py_DECREF(name);
    h->flags = FOREIGN_RUN;
    h->body = (Body){.author = AN_AGENT, .conv = NOBODY, .digest = crc32_on(0, h->p, h->size)};
    return found;
}

/* Read a message without changing anything: 1 mine, 0 not, -1 an error. `heard->label` is a reference, or NULL. */
static int read_message(Core *c, const Scan *s, const Meaning *m, Heard *h) {
    const Value *id = value_in(s, m, M_ID), *seq = value_in(s, m, M_SEQ), *sender = value_in(s, m, M_SENDER);
    int known;
    uint32_t conv;
    Py_ssize_t tag_size;
    *h = (Heard){.seq = NONE, .sender = NONE, .planned = 1};
    if (id->is != ABSENT && (id->is != TEXT || id->escaped)) return 0;
    if (m->slot[M_SEQ] >= 0) {
        if (seq->is != NUMBER || seq->number < 0) return 0;
        h->seq = seq->number;
    }
    if (m->slot[M_SENDER] >= 0 && (known = known_name(c, sender, &h->sender)) != 1) return known;
    if (!text_of(value_in(s, m, M_TEXT), &h->p, &h->size)) return 0;
    const char *tag = PyUnicode_AsUTF8AndSize(c->tag, &tag_size);
    if (tag == NULL) return -1;
    if (!read_body(h->p, h->size, tag, tag_size, &h->body) && (known = of_agent(c, sender, h)) != 1) return known;
    if (m->slot[M_ROOM] < 0) return 1;
    if ((h->label = label_of(c, value_in(s, m, M_ROOM))) == NULL) return PyErr_Occurred() ? -1 : 0;
    if ((known = planned(c, h->label, &conv)) < 0) return -1;
    h->planned = known;
    if (h->flags) h->body.conv = conv;
    return h->flags || (known && conv == h->body.conv);
}

/* The event of a message as `Heard` in client/events.py, for the hook. */
static PyObject *event_of(const Scan *s, const Meaning *m, const Heard *h) {
    const Value *from = value_in(s, m, M_SENDER), *id = value_in(s, m, M_ID);
    PyObject *sender = from->is == ABSENT ? Py_NewRef(Py_None) : name_of(from->p, from->size);
    PyObject *named = id->is != TEXT ? Py_NewRef(Py_None) : PyUnicode_FromStringAndSize((const char *)id->p, id->size);
    PyObject *text = PyUnicode_FromStringAndSize((const char *)h->p, h->size); /* now: a tuple may call a finalizer */
    return Py_BuildValue("((iONLNNO))", MESSAGE, h->label == NULL ? Py_None : h->label, text, (long long)h->seq, sender,
                         named, Py_None);
}

/* Record a message that is mine, in the order of ChatSession._message. `sent`: the own message that it answers. */
static int record_message(Core *c, int64_t now, const Heard *h, PyObject *id, const Sent *sent) {
    const Body *b = &h->body;
    int noted = h->label != NULL && h->seq != NONE;
    c->frames++;
    pen_put(c->pen, now, K_DELIVER, h->flags, (uint8_t)b->attempt, (uint8_t)b->proc, c->client, c->conn, (uint32_t)b->conv,
            (uint32_t)b->author, (uint32_t)b->counter, h->seq, h->sender, (uint32_t)h->size, b->digest);
    c->session->heard_count++;
    if (noted && h->planned && raise_to(c->seen, h->label, h->seq) < 0) return -1;
    if (b->author != c->client) return 1;
    c->session->own_heard++;
    if (noted && raise_to(c->acked_seq, h->label, h->seq) < 0) return -1;
    return id == NULL || acknowledged(c, now, h->seq, id, sent) == 0 ? 1 : -1;
}

static int message(Core *c, int64_t now, const Scan *s, const Meaning *m) {
    PyObject *id = NULL, *event = NULL;
    Heard h;
    Sent sent = {.object = NULL};
    int result = read_message(c, s, m, &h), silent = c->session->on_message == NULL || c->session->on_message == Py_None;
    if (result == 1 && h.body.author == c->client && c->ack_by_echo) {
        id = own_id(c, (uint32_t)h.body.counter);
        /* An echo of a message that waits no longer is not usual. */
        result = id == NULL ? -1 : find_sent(c, id, &sent);
    }
    if (result == 1 && !silent && (event = event_of(s, m, &h)) == NULL) result = -1;
    if (result == 1 && !pen_room(c->pen, 1 + (id != NULL))) result = 0;
    if (result == 1) result = record_message(c, now, &h, id, &sent);
    if (result == 1 && event != NULL && call_hook(c, ON_MESSAGE, Py_NewRef(event)) < 0) result = -1;
    Py_XDECREF(h.label);
    Py_XDECREF(sent.object);
    Py_XDECREF(id);
    Py_XDECREF(event);
    return result;
}

/* -- answers -------------------------------------------------------------------------------------------------------- */

static int answer(Core *c, int64_t now, const Scan *s, const Meaning *m) {
    const Value *id_at = value_in(s, m, M_ID), *number = value_in(s, m, M_SEQ);
    int64_t seq = NONE;
    Sent sent = {.object = NULL};
    if (id_at->is != TEXT || id_at->escaped) return 0;
    if (m->slot[M_ROOM] >= 0 && value_in(s, m, M_ROOM)->is != TEXT) return 0;
    if (m->slot[M_SEQ] >= 0) {
        if (number->is != NUMBER || number->number < 0) return 0;
        seq = number->number;
    }
    PyObject *id = PyUnicode_FromStringAndSize((const char *)id_at->p, id_at->size);
    if (id == NULL) return -1;
    int result = find_sent(c, id, &sent);
    if (result == 1 && !pen_room(c->pen, 1)) result = 0;
    if (result == 1) {
        c->frames++;
        if (acknowledged(c, now, seq, id, &sent) < 0) result = -1;
    }
    Py_XDECREF(sent.object);
    Py_DECREF(id);
    return result;
}

/* The seconds of a refusal: 1 and the number, or 0 and None if there is none; -1 for anything else. */
static int seconds_of(const Value *v, double *seconds) {
    char text[48];
    if (v->is == ABSENT || v->is == NOTHING) return 0;
    if ((v->is != NUMBER && v->is != FRACTION) || v->size >= (Py_ssize_t)sizeof text) return -1;
    memcpy(text, v->p, (size_t)v->size);
    text[v->size] = 0;
    *seconds = PyOS_string_to_double(text, NULL, NULL);
    if (*seconds == -1.0 && PyErr_Occurred()) return PyErr_Clear(), -1;
    return 1;
}

/* Seconds as whole milliseconds, rounded up, as `Speaker._not_accepted` has them. */
static uint32_t milliseconds(double seconds) {
    double ms = seconds * 1000;
    if (!(ms > 1)) return 1;
    if (ms >= UINT32_MAX) return UINT32_MAX;
    uint32_t whole = (uint32_t)ms;
    return whole < ms ? whole + 1 : whole;
}

static int record_refusal(Core *c, int64_t now, PyObject *id, const Sent *sent, int64_t code, PyObject *seconds, uint32_t ms) {
    PyObject *refused = get_table(c->session, REFUSED, &PyDict_Type), *tally = get(c->session, TALLY), *counted = NULL;
    int done = refused == NULL || tally == NULL ? -1 : PyDict_DelItem(c->pending, id);
    c->frames++;
    if (done == 0) {
        pen_put(c->pen, now, K_FAIL, 0, (uint8_t)sent->attempt, (uint8_t)sent->proc, c->client, c->conn, sent->conv, c->client,
                sent->counter, NONE, code, ms, 0);
        done = PyDict_SetItem(refused, id, sent->object);
    }
    if (done == 0 && PyDict_Size(refused) > KEPT) done = drop_oldest(refused);
    if (done == 0) {
        c->session->refused++;
        counted = PyObject_CallMethod(tally, "count", "N", PyUnicode_FromFormat("refused with %lld", (long long)code));
        done = counted == NULL ? -1 : call_hook(c, ON_REFUSED, Py_BuildValue("(OLO)", id, (long long)code, seconds));
    }
    Py_XDECREF(counted);
    Py_XDECREF(refused);
    Py_XDECREF(tally);
    return done == 0 ? call_on_answer(c) : -1;
}

static int refusal(Core *c, int64_t now, const Scan *s, const Meaning *m) {
    const Value *id_at = value_in(s, m, R_ID), *code = value_in(s, m, R_CODE), *unless = value_in(s, m, R_UNLESS);
    double wait_s = 0;
    Sent sent = {.object = NULL};
    int stated = seconds_of(value_in(s, m, R_RETRY), &wait_s);
    if (stated < 0 || id_at->is != TEXT || id_at->escaped || code->is != NUMBER || code->number < 0) return 0;
    if (unless->is != ABSENT && unless->is != NOTHING) return 0;
    PyObject *id = PyUnicode_FromStringAndSize((const char *)id_at->p, id_at->size);
    PyObject *seconds = stated ? PyFloat_FromDouble(wait_s) : Py_NewRef(Py_None);
    int result = id == NULL || seconds == NULL ? -1 : find_sent(c, id, &sent);
    if (result == 1 && !pen_room(c->pen, 1)) result = 0;
    if (result == 1 && record_refusal(c, now, id, &sent, code->number, seconds, stated ? milliseconds(wait_s) : 0) < 0)
        result = -1;
    Py_XDECREF(sent.object);
    Py_XDECREF(seconds);
    Py_XDECREF(id);
    return result;
}
