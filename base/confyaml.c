/* SPDX-License-Identifier: Apache-2.0 */
/*
 * YAML text to a tree of nodes, from libyaml's events. What could mean something that the reader of the file
 * does not see is refused: anchors, aliases, tags, merge keys, a second document, a repeated name, control
 * characters. Scalars stay the text that they are; the tables say what type they have.
 *
 * After a syntax error, or one that leaves no sense of the structure, the rest of the file is not read.
 */
#include "config.h"

#include "base/confimpl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

struct builder {
    const char *name;
    struct conf_errors *errs;
    size_t *n_nodes;
    struct conf_node *root;
    struct conf_node *stack[CONF_MAX_DEPTH]; /* the open lists and maps */
    unsigned depth;
    char *key; /* of the value that comes next in a map; owned */
    unsigned key_line, key_column;
};

struct conf_node *
conf_node_free(struct conf_node *node)
{
    while (node != NULL) {
        struct conf_node *next = node->next;
        (void)conf_node_free(node->first); /* at most CONF_MAX_DEPTH deep */
        free(node->key);
        free(node->text);
        free(node);
        node = next;
    }
    return NULL;
}

bool
conf_node_is_nothing(const struct conf_node *node)
{
    return node->kind == CONF_NODE_TEXT && node->is_plain &&
           (node->text[0] == '\0' || strcmp(node->text, "~") == 0 || strcmp(node->text, "null") == 0);
}

static unsigned
line_of(yaml_mark_t mark)
{
    return (unsigned)mark.line + 1;
}

static unsigned
column_of(yaml_mark_t mark)
{
    return (unsigned)mark.column + 1;
}

static int
refuse(struct builder *b, const yaml_event_t *event, const char *what)
{
    conf_error_at(b->errs, b->name, line_of(event->start_mark), column_of(event->start_mark), "%s", what);
    return -EINVAL;
}

/* Where the parser stopped. A problem of the input's encoding has an offset only: that is what is told. */
static int
refuse_syntax(struct builder *b, const yaml_parser_t *parser)
{
    if (parser->error == YAML_MEMORY_ERROR)
        return -ENOMEM;
    const char *problem = parser->problem != NULL ? parser->problem : "not YAML";
    if (parser->error == YAML_READER_ERROR) {
        conf_error_at(b->errs, b->name, 0, 0, "%s (at byte %zu); the file must be UTF-8", problem,
            parser->problem_offset);
        return -EINVAL;
    }
    if (parser->context != NULL)
        conf_error_at(b->errs, b->name, line_of(parser->problem_mark), column_of(parser->problem_mark),
            "%s, %s from line %u", problem, parser->context, line_of(parser->context_mark));
    else
        conf_error_at(
            b->errs, b->name, line_of(parser->problem_mark), column_of(parser->problem_mark), "%s", problem);
    return -EINVAL;
}

static struct conf_node *
builder_top(const struct builder *b)
{
    return b->depth > 0 ? b->stack[b->depth - 1] : NULL;
}

static const struct conf_node *
child_find(const struct conf_node *map, const char *key)
{
    for (const struct conf_node *c = map->first; c != NULL; c = c->next) {
        if (strcmp(c->key, key) == 0)
            return c;
    }
    return NULL;
}

/* Hangs a node into the open list or map; takes it, on failure too. */
static int
attach_take(struct builder *b, struct conf_node *node)
{
    struct conf_node *top = builder_top(b);

    if (top == NULL) {
        b->root = node;
        return 0;
    }
    if (top->kind == CONF_NODE_MAP) {
        node->key = b->key;
        node->key_line = b->key_line;
        node->key_column = b->key_column;
        b->key = NULL;
    }
    if (top->last != NULL)
        top->last->next = node;
    else
        top->first = node;
    top->last = node;
    top->n++;
    return 0;
}

static int
node_new(struct builder *b, const yaml_event_t *event, enum conf_node_kind kind, struct conf_node **ret)
{
    if (++*b->n_nodes > CONF_MAX_NODES)
        return refuse(b, event, "too many values in this configuration");
    struct conf_node *node = calloc(1, sizeof *node);
    if (node == NULL)
        return -ENOMEM;
    node->kind = kind;
    node->line = line_of(event->start_mark);
    node->column = column_of(event->start_mark);
    *ret = node;
    return 0;
}

static int
check_text(struct builder *b, const yaml_event_t *event)
{
    const unsigned char *p = event->data.scalar.value;

    if (event->data.scalar.anchor != NULL)
        return refuse(b, event, "anchors are not taken here: write the value where it is needed");
    if (event->data.scalar.tag != NULL)
        return refuse(b, event, "tags are not taken here: the option knows its type");
    for (size_t i = 0; i < event->data.scalar.length; i++) {
        if (p[i] < 0x20 || p[i] == 0x7f)
            return refuse(b, event, "control characters and line ends are not taken in a value");
    }
    return 0;
}

/* The scalar is a name in a map. A repeated one is noted here, once, and the walk goes on. */
static int
take_key(struct builder *b, const yaml_event_t *event)
{
    struct conf_node *map = builder_top(b);
    const char *key = (const char *)event->data.scalar.value;

    if (event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE && strcmp(key, "<<") == 0)
        return refuse(b, event, "merge keys are not taken here: write the options where they are needed");
    if (map->n >= CONF_MAX_KEYS)
        return refuse(b, event, "too many names in one mapping");
    const struct conf_node *earlier = child_find(map, key);
    if (earlier != NULL)
        conf_error_at(b->errs, b->name, line_of(event->start_mark), column_of(event->start_mark),
            "%.60s is given twice; the first is in line %u", key, earlier->key_line);
    b->key = strdup(key);
    b->key_line = line_of(event->start_mark);
    b->key_column = column_of(event->start_mark);
    return b->key != NULL ? 0 : -ENOMEM;
}

static int
on_scalar(struct builder *b, const yaml_event_t *event)
{
    struct conf_node *top = builder_top(b), *node = NULL;
    int r = check_text(b, event);

    if (r < 0)
        return r;
    if (top != NULL && top->kind == CONF_NODE_MAP && b->key == NULL)
        return take_key(b, event);
    r = node_new(b, event, CONF_NODE_TEXT, &node);
    if (r < 0)
        return r;
    node->is_plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    node->text = strdup((const char *)event->data.scalar.value);
    if (node->text == NULL) {
        (void)conf_node_free(node);
        return -ENOMEM;
    }
    return attach_take(b, node);
}

static int
on_open(struct builder *b, const yaml_event_t *event, enum conf_node_kind kind, bool has_anchor, bool has_tag)
{
    struct conf_node *top = builder_top(b), *node = NULL;

    if (has_anchor)
        return refuse(b, event, "anchors are not taken here: write the value where it is needed");
    if (has_tag)
        return refuse(b, event, "tags are not taken here: the option knows its type");
    if (top != NULL && top->kind == CONF_NODE_MAP && b->key == NULL)
        return refuse(b, event, "the name of an option must be a text");
    if (b->depth == CONF_MAX_DEPTH)
        return refuse(b, event, "nested too deeply: no option is that deep");
    int r = node_new(b, event, kind, &node);
    if (r < 0)
        return r;
    r = attach_take(b, node);
    if (r == 0)
        b->stack[b->depth++] = node;
    return r;
}

/* 0: go on; 1: the end of the file; negative: noted, give up. */
static int
on_event(struct builder *b, const yaml_event_t *event)
{
    switch (event->type) {
    case YAML_STREAM_END_EVENT:
        return 1;
    case YAML_DOCUMENT_START_EVENT:
        return b->root != NULL ? refuse(b, event, "a second document: one file is one configuration") : 0;
    case YAML_ALIAS_EVENT:
        return refuse(b, event,
            "aliases are not taken here: write the value where it is needed; "
            "a text that begins with * needs quotes");
    case YAML_SCALAR_EVENT:
        return on_scalar(b, event);
    case YAML_SEQUENCE_START_EVENT:
        return on_open(b, event, CONF_NODE_LIST, event->data.sequence_start.anchor != NULL,
            event->data.sequence_start.tag != NULL);
    case YAML_MAPPING_START_EVENT:
        return on_open(b, event, CONF_NODE_MAP, event->data.mapping_start.anchor != NULL,
            event->data.mapping_start.tag != NULL);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        b->depth--;
        return 0;
    default:
        return 0;
    }
}

int
conf_yaml_parse(const char *name, const void *p, size_t n, size_t *n_nodes, struct conf_errors *errs,
    struct conf_node **ret)
{
    struct builder b = {.name = name, .errs = errs, .n_nodes = n_nodes};
    yaml_parser_t parser;
    int r = 0;

    if (!yaml_parser_initialize(&parser))
        return -ENOMEM;
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&parser, n > 0 ? p : (const void *)"", n);
    while (r == 0) {
        yaml_event_t event;
        if (!yaml_parser_parse(&parser, &event)) {
            r = refuse_syntax(&b, &parser);
            break;
        }
        r = on_event(&b, &event);
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&parser);
    free(b.key);
    if (r < 0) {
        (void)conf_node_free(b.root);
        return r;
    }
    *ret = b.root;
    return 0;
}
