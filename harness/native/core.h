/* The core of one connection, and what it shares with the session, as in client/session.py and client/outbox.py.
   Part of _hot.c. */

typedef struct {
    PyObject_HEAD
    Counts *session;
    Pen *pen;
    Envelope *envelope;
    Histogram *latency, *from_plan;
    PyObject *tag, *rooms, *seen, *acked_seq, *pending, *posted, *open, *names, *agents;
    unsigned int client, conn;
    char ack_by_echo, strangers, busy, begun; /* begun: the record of the connection's beginning is written */
    long long frame_max, frames, next, now, got, written, sent, made;
} Core;

/* A message under way, of `Sent` in client/outbox.py: a tuple, or what is made here. `object` is it, as a reference. */
typedef struct { PyObject *object, *label, *payload; uint32_t counter, attempt, conv, proc; long long sent_ns, planned_ns; } Sent;

/* -- attributes of the session that only rare frames need ---------------------------------------------------------------- */

enum { ON_MESSAGE, ON_AGENT, ON_LEFT, ON_JOINED, ON_REFUSED, ON_WELCOME, DUE, WELCOMED, OUTSIDE, ASKED, LAST,
       UNANSWERED, REFUSED, TALLY, STREAMS, QUESTIONS, SHOWN, OPEN, ANSWERS, BY_NUMBER, QUESTION, FIRST_NS, TIMED, EDITS,
       BEYOND, VERSIONS, ATTRIBUTES };
static const char *const attribute_texts[ATTRIBUTES] = {
    "on_message", "on_agent", "on_left", "on_joined", "on_refused", "on_welcome", "_due", "welcomed", "outside",
    "asked", "_last", "_unanswered", "_refused", "_tally", "_streams", "questions", "shown", "_open", "_answers",
    "_by_number", "question", "first_ns", "timed", "edits", "_beyond", "versions"};
static PyObject *attributes[ATTRIBUTES];

static PyObject *get(const void *object, int attribute) {
    return PyObject_GetAttr((PyObject *)(uintptr_t)object, attributes[attribute]);
}

/* The table `attribute` of an object, which must be of `type`. */
static PyObject *get_table(const void *object, int attribute, PyTypeObject *type) {
    PyObject *table = get(object, attribute);
    if (table != NULL && !PyObject_TypeCheck(table, type)) {
        Py_CLEAR(table);
        PyErr_Format(PyExc_TypeError, "%s is no %N", attribute_texts[attribute], type);
    }
    return table;
}

/* Whether an attribute is None: 1 or 0, -1 for an error. */
static int is_none(const void *object, int attribute) {
    PyObject *value = get(object, attribute);
    Py_XDECREF(value);
    return value == NULL ? -1 : value == Py_None;
}

/* Call a hook of the session, if it is set. The reference to `arguments`, a tuple, is taken; NULL is an error already. */
static int call_hook(const Core *c, int attribute, PyObject *arguments) {
    PyObject *hook = arguments == NULL ? NULL : get(c->session, attribute), *result = Py_None;
    if (hook != NULL && hook != Py_None) {
        result = PyObject_CallObject(hook, arguments);
        Py_XDECREF(result);
    }
    Py_XDECREF(arguments);
    if (hook == NULL) return -1;
    Py_DECREF(hook);
    return result == NULL ? -1 : 0;
}

/* As `call_hook` without arguments: the hook of answers, which every message has. */
static int call_on_answer(const Core *c) {
    if (c->session->on_answer == NULL || c->session->on_answer == Py_None) return 0;
    PyObject *hook = Py_NewRef(c->session->on_answer); /* it may set another one */
    PyObject *result = PyObject_CallNoArgs(hook);
    Py_XDECREF(result);
    Py_DECREF(hook);
    return result == NULL ? -1 : 0;
}

/* -- numbers, names, tables ----------------------------------------------------------------------------------------------- */

static int as_number(PyObject *value, long long most, long long *number) {
    int over = 0;
    if (value == NULL || !PyLong_Check(value)) return 0;
    *number = PyLong_AsLongLongAndOverflow(value, &over);
    return !over && *number >= 0 && *number <= most;
}

/* -- a message under way, in the memory of one object: Python reads it as a sequence, like a tuple -------------------------- */

typedef struct { PyObject_HEAD Sent sent; } Message;

static PyObject *new_message(const Sent *sent) {
    Message *made = PyObject_New(Message, Message_type);
    if (made == NULL) return NULL;
    made->sent = *sent;
    made->sent.object = NULL;
    Py_INCREF(sent->label);
    Py_INCREF(sent->payload);
    return (PyObject *)made;
}

static void message_dealloc(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    Py_DECREF(((Message *)self)->sent.label);
    Py_DECREF(((Message *)self)->sent.payload);
    PyObject_Free(self);
    Py_DECREF(type);
}

static Py_ssize_t message_length(PyObject *self) {
    (void)self;
    return 8;
}

static PyObject *message_item(PyObject *self, Py_ssize_t n) {
    const Sent *s = &((Message *)self)->sent;
    const long long numbers[8] = {s->counter, s->attempt, s->conv, s->proc, 0, 0, s->sent_ns, s->planned_ns};
    if (n < 0 || n >= 8) return PyErr_SetString(PyExc_IndexError, "a message under way has 8 values"), NULL;
    return n == 4 ? Py_NewRef(s->label) : n == 5 ? Py_NewRef(s->payload) : PyLong_FromLongLong(numbers[n]);
}

static PyType_Slot message_slots[] = {
    {Py_tp_doc, "A message under way; `Sent` in client/outbox.py says what its values are."},
    {Py_tp_dealloc, message_dealloc}, {Py_sq_length, message_length}, {Py_sq_item, message_item}, {0, NULL}};
static PyType_Spec message_spec = {
    "earwitness.harness.native._hot.Message", sizeof(Message), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    message_slots};

static int read_sent(PyObject *tuple, Sent *sent) {
    if (Py_TYPE(tuple) == Message_type) {
        *sent = ((Message *)tuple)->sent;
        sent->object = Py_NewRef(tuple);
        return 1;
    }
    long long v[8] = {0};
    static const long long most[8] = {UINT32_MAX, 255, UINT32_MAX, 255, 0, 0, INT64_MAX, INT64_MAX};
    if (!PyTuple_Check(tuple) || PyTuple_Size(tuple) != 8) return 0;
    for (int n = 0; n < 8; n++)
        if (most[n] && !as_number(PyTuple_GetItem(tuple, n), most[n], &v[n])) return 0;
    PyObject *label = PyTuple_GetItem(tuple, 4), *payload = PyTuple_GetItem(tuple, 5);
    if (!PyUnicode_Check(label) || !PyUnicode_Check(payload)) return 0;
    *sent = (Sent){Py_NewRef(tuple), label, payload, (uint32_t)v[0], (uint32_t)v[1], (uint32_t)v[2], (uint32_t)v[3], v[6], v[7]};
    return 1;
}

/* Raise the number of a key, unless it is higher already. */
static int raise_to(PyObject *numbers, PyObject *key, long long seq) {
    PyObject *known = PyDict_GetItemWithError(numbers, key);
    if (known == NULL && PyErr_Occurred()) return -1;
    long long before = known == NULL ? NONE : PyLong_AsLongLong(known);
    if (before == -1 && PyErr_Occurred()) return -1;
    if (seq <= before) return 0;
    PyObject *value = PyLong_FromLongLong(seq);
    int done = value == NULL ? -1 : PyDict_SetItem(numbers, key, value);
    Py_XDECREF(value);
    return done;
}

/* Delete the key that was put in first. */
static int drop_oldest(PyObject *table) {
    Py_ssize_t at = 0;
    PyObject *key, *value;
    if (!PyDict_Next(table, &at, &key, &value)) return 0;
    Py_INCREF(key);
    int done = PyDict_DelItem(table, key);
    Py_DECREF(key);
    return done;
}

/* Delete a key, if it is there: 1 it was, 0 it was not, -1 an error. `*value` gets a reference, unless it is NULL. */
static int pop(PyObject *table, PyObject *key, PyObject **value) {
    PyObject *found = PyDict_GetItemWithError(table, key);
    if (found == NULL) return PyErr_Occurred() ? -1 : 0;
    if (value != NULL) *value = Py_NewRef(found);
    return PyDict_DelItem(table, key) < 0 ? -1 : 1;
}

/* The client's id of the own message `counter`, as `Speaker.send` makes it. */
static PyObject *own_id(const Core *c, uint32_t counter) {
    uint8_t text[TAG_MAX + 24];
    Sink out = {text, text + sizeof text};
    Py_ssize_t size;
    const char *tag = PyUnicode_AsUTF8AndSize(c->tag, &size);
    if (tag == NULL) return NULL;
    if (!put_bytes(&out, tag, size) || !put_char(&out, '-') || !put_number(&out, c->client) || !put_char(&out, '-')
        || !put_number(&out, counter)) return PyErr_Format(PyExc_ValueError, "the tag of the run is too long");
    return PyUnicode_FromStringAndSize((const char *)text, out.at - text);
}

/* A value as a str from the table of names: NULL if it is not a plain text, or with an error. */
static PyObject *plain_name(const Value *v) { return v->is != TEXT || v->escaped ? NULL : name_of(v->p, v->size); }

/* The room of an event as the session's label; NULL if it is not a plain text, or with an error. */
static PyObject *label_of(const Core *c, const Value *v) {
    PyObject *name = plain_name(v), *label = NULL;
    if (name != NULL) label = Py_XNewRef(PyDict_GetItemWithError(c->envelope->labels, name));
    if (label != NULL || PyErr_Occurred()) {
        Py_XDECREF(name);
        return label;
    }
    return name;
}

/* The number of a planned room: 1 found, 0 it is not planned, -1 an error. */
static int planned(const Core *c, PyObject *label, uint32_t *conv) {
    long long number = 0;
    PyObject *found = PyDict_GetItemWithError(c->rooms, label);
    *conv = NOBODY;
    if (found == NULL) return PyErr_Occurred() ? -1 : 0;
    if (!as_number(found, UINT32_MAX, &number)) return PyErr_SetString(PyExc_ValueError, "the number of a room"), -1;
    *conv = (uint32_t)number;
    return 1;
}

/* The number of a name in this journal: 1 found, 0 not mine (a new name is interned by Python), -1 an error. */
static int known_name(const Core *c, const Value *v, int64_t *sender) {
    long long number = 0;
    if (v->is != TEXT || v->escaped) return 0;
    PyObject *name = name_of(v->p, v->size);
    if (name == NULL) return -1;
    PyObject *known = PyDict_GetItemWithError(c->names, name);
    Py_DECREF(name);
    if (known == NULL && PyErr_Occurred()) return -1;
    if (!as_number(known, UINT32_MAX, &number)) return 0;
    *sender = number;
    return 1;
}

/* The text of a value with its escapes resolved, in `said` if it has some: 1, or 0 if it is no text or too long. */
static int text_of(const Value *v, const uint8_t **p, Py_ssize_t *size) {
    if (v->is != TEXT) return 0;
    *p = v->p;
    *size = v->size;
    if (!v->escaped) return 1;
    *p = said;
    return (*size = unescape(v)) >= 0;
}

/* Whether CONNECT is written: 1, 0, or -1 for an error. */
static int has_begun(Core *c) {
    int none = c->begun ? 1 : is_none(c->session, DUE);
    if (none == 1) c->begun = 1;
    return none;
}

/* Append a record that is no message's, as `Speaker._event` does. */
static void put_event(const Core *c, int64_t now, uint8_t kind, uint8_t flags, uint8_t attempt, uint32_t conv, uint32_t author,
                      uint32_t counter, int64_t seq, int64_t aux, uint32_t size, uint32_t digest) {
    pen_put(c->pen, now, kind, flags, attempt, 0, c->client, c->conn, conv, author, counter, seq, aux, size, digest);
}
