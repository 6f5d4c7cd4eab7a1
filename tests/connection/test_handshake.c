/* The handshake as a function on messages: roles, digests, refusals, known answers. */
#include <stdio.h>
#include <string.h>

#include <check.h>
#include <kinfolk.h>

#include "connection/address.h"
#include "connection/handshake.h"
#include "kit/modes.h"

static const char key[] = "a key that both know";
#define KEY_SIZE (sizeof key - 1)

struct side {
    struct kin__handshake handshake;
    uint8_t out[KIN__HANDSHAKE_MAX];
    size_t size;
};

static void begin(struct side *side, enum kin__handshake_role role, const char *with, uint8_t seed)
{
    uint8_t random[KIN__HANDSHAKE_RANDOM];
    for (size_t i = 0; i < sizeof random; i++) {
        random[i] = (uint8_t)(seed * 41 + i * 7);
    }
    kin__handshake_begin(&side->handshake, role, with, strlen(with), random, side->out,
                         &side->size);
}

/* Hands what `from` has to say to `to`. */
static int pass(const struct side *from, struct side *to)
{
    uint8_t message[KIN__HANDSHAKE_MAX];
    size_t size = from->size;
    memcpy(message, from->out, size);
    return kin__handshake_step(&to->handshake, message, size, to->out, &to->size);
}

static int say(struct side *to, const char *text)
{
    return kin__handshake_step(&to->handshake, (const uint8_t *)text, strlen(text), to->out,
                               &to->size);
}

START_TEST(both_sides_agree)
{
    struct side listener, client;
    begin(&listener, KIN__HANDSHAKE_LISTENER, key, 1);
    begin(&client, KIN__HANDSHAKE_CLIENT, key, 2);
    ck_assert_uint_eq(listener.size, 11 + 8 + 40);
    ck_assert_mem_eq(listener.out, "#CHALLENGE#{sha256}", 19);
    ck_assert_uint_eq(client.size, 0);
    ck_assert_int_eq(pass(&listener, &client), 1);
    ck_assert_mem_eq(client.out, "{sha256}", 8);
    ck_assert_uint_eq(client.size, 8 + 32);
    ck_assert_int_eq(pass(&client, &listener), 1);
    ck_assert_mem_eq(listener.out, "#WELCOME#", 9);
    ck_assert_int_eq(pass(&listener, &client), 1);
    ck_assert_uint_eq(client.size, 11 + 8 + 40);
    ck_assert_int_eq(pass(&client, &listener), 1);
    ck_assert_int_eq(pass(&listener, &client), 0);
    ck_assert_mem_eq(client.out, "#WELCOME#", 9);
    ck_assert_int_eq(pass(&client, &listener), 0);
    ck_assert_uint_eq(listener.size, 0);
    /* Over is over. */
    ck_assert_int_eq(say(&listener, "#WELCOME#"), KIN_EAUTH);
    ck_assert_int_eq(say(&client, "#WELCOME#"), KIN_EAUTH);
}
END_TEST

START_TEST(another_key_is_refused_by_both)
{
    struct side listener, client;
    begin(&listener, KIN__HANDSHAKE_LISTENER, key, 1);
    begin(&client, KIN__HANDSHAKE_CLIENT, "another key", 2);
    ck_assert_int_eq(pass(&listener, &client), 1);
    ck_assert_int_eq(pass(&client, &listener), KIN_EAUTH);
    ck_assert_uint_eq(listener.size, 9);
    ck_assert_mem_eq(listener.out, "#FAILURE#", 9);
    ck_assert_int_eq(pass(&listener, &client), KIN_EAUTH);
    ck_assert_uint_eq(client.size, 0);
    /* A listener that welcomes anybody, without the key, is found out by the second half. */
    begin(&client, KIN__HANDSHAKE_CLIENT, key, 2);
    ck_assert_int_eq(say(&client, "#CHALLENGE#{sha256}twenty bytes or more, of anything"), 1);
    ck_assert_int_eq(say(&client, "#WELCOME#"), 1);
    ck_assert_int_eq(say(&client, "{sha256}0123456789abcdef0123456789abcdef"), KIN_EAUTH);
    ck_assert_mem_eq(client.out, "#FAILURE#", 9);
}
END_TEST

START_TEST(a_clients_challenge_is_answered_by_listeners_only)
{
    struct side victim, other, listener;
    begin(&victim, KIN__HANDSHAKE_CLIENT, key, 1);
    ck_assert_int_eq(say(&victim, "#CHALLENGE#{sha256}twenty bytes or more, of anything"), 1);
    ck_assert_int_eq(say(&victim, "#WELCOME#"), 1);
    /* The reflection: another client is to answer for the attacker. */
    begin(&other, KIN__HANDSHAKE_CLIENT, key, 2);
    ck_assert_int_eq(pass(&victim, &other), KIN_EAUTH);
    ck_assert_uint_eq(other.size, 0);
    /* Not taken for one by who has another key, nor when a bit differs. */
    begin(&other, KIN__HANDSHAKE_CLIENT, "another key", 2);
    ck_assert_int_eq(pass(&victim, &other), 1);
    begin(&other, KIN__HANDSHAKE_CLIENT, key, 2);
    victim.out[victim.size - 1] ^= 1;
    ck_assert_int_eq(pass(&victim, &other), 1);
    victim.out[victim.size - 1] ^= 1;
    /* A listener answers it, having seen the client's proof. */
    struct side again;
    begin(&listener, KIN__HANDSHAKE_LISTENER, key, 3);
    begin(&again, KIN__HANDSHAKE_CLIENT, key, 4);
    ck_assert_int_eq(pass(&listener, &again), 1);
    ck_assert_int_eq(pass(&again, &listener), 1);
    ck_assert_int_eq(pass(&victim, &listener), 1);
    ck_assert_int_eq(pass(&listener, &victim), 0);
}
END_TEST

START_TEST(a_listener_answers_nothing_before_the_proof)
{
    struct side listener;
    begin(&listener, KIN__HANDSHAKE_LISTENER, key, 1);
    ck_assert_int_eq(say(&listener, "#CHALLENGE#{sha256}twenty bytes or more, of anything"),
                     KIN_EAUTH);
    ck_assert_mem_eq(listener.out, "#FAILURE#", 9);
    ck_assert_uint_eq(listener.size, 9);
}
END_TEST

/* What Python's hmac module gives for this key and message (printed by 3.12). */
static const struct {
    const char *challenge; /* the response is to this, prefix included */
    const char *prefix;
    const char *mac; /* hexadecimal */
} answers[] = {
#include "answers.h"
};

START_TEST(known_answers)
{
    char message[KIN__HANDSHAKE_MAX];
    struct side client;
    begin(&client, KIN__HANDSHAKE_CLIENT, "secret", 9);
    snprintf(message, sizeof message, "#CHALLENGE#%s", answers[_i].challenge);
    ck_assert_int_eq(say(&client, message), 1);
    size_t prefix = strlen(answers[_i].prefix);
    ck_assert_mem_eq(client.out, answers[_i].prefix, prefix);
    char hex[2 * KIN__DIGEST_MAX + 1] = "";
    for (size_t i = prefix; i < client.size; i++) {
        snprintf(hex + 2 * (i - prefix), 3, "%02x", client.out[i]);
    }
    ck_assert_str_eq(hex, answers[_i].mac);
}
END_TEST

START_TEST(nonsense_is_refused)
{
    static const char *const challenges[] = {
        "",
        "#CHALLENGE#",
        "#CHALLENGE#{sha256}too short",
        "#CHALLENGE#no prefix, and not of the length of old ones",
        "#CHALLENGE#{sha1}a digest that is not on the list of those allowed",
        "#CHALLENGE#{sha256 without an end to its name, which is sha256",
        "#CHALLENGE#{}an empty name of a digest, in front of many bytes",
        "#challenge#{sha256}twenty bytes or more, of anything",
        "#WELCOME#",
        "#FAILURE#",
    };
    for (size_t i = 0; i < sizeof challenges / sizeof *challenges; i++) {
        struct side client;
        begin(&client, KIN__HANDSHAKE_CLIENT, key, 1);
        ck_assert_int_eq(say(&client, challenges[i]), KIN_EAUTH);
        ck_assert_uint_eq(client.size, 0);
    }
    static const char *const responses[] = {
        "",
        "{md5}",
        "0123456789abcdef",
        "{md5}0123456789abcdef",
        "{sha256}",
        "{nothing}",
        "{",
        "{sha256}0123456789abcdef0123456789abcde",
        "#WELCOME#",
    };
    for (size_t i = 0; i < sizeof responses / sizeof *responses; i++) {
        struct side listener;
        begin(&listener, KIN__HANDSHAKE_LISTENER, key, 1);
        ck_assert_int_eq(say(&listener, responses[i]), KIN_EAUTH);
        ck_assert_mem_eq(listener.out, "#FAILURE#", 9);
    }
    static const char *const verdicts[] = {"", "#WELCOME", "#WELCOME##", "#FAILURE#", "welcome!!"};
    for (size_t i = 0; i < sizeof verdicts / sizeof *verdicts; i++) {
        struct side client;
        begin(&client, KIN__HANDSHAKE_CLIENT, key, 1);
        ck_assert_int_eq(say(&client, "#CHALLENGE#{sha256}twenty bytes or more, of anything"), 1);
        ck_assert_int_eq(say(&client, verdicts[i]), KIN_EAUTH);
    }
    uint8_t large[KIN__HANDSHAKE_MAX + 1] = "#WELCOME#";
    struct side client;
    begin(&client, KIN__HANDSHAKE_CLIENT, key, 1);
    ck_assert_int_eq(
        kin__handshake_step(&client.handshake, large, sizeof large, client.out, &client.size),
        KIN_EAUTH);
}
END_TEST

START_TEST(addresses)
{
    static const struct {
        const char *text;
        int family;
        int rc;
        bool inet, abstract;
        const char *name; /* or host */
        unsigned port;
    } cases[] = {
        {"/tmp/x", KIN_ADDRESS_ANY, 0, false, false, "/tmp/x", 0},
        {"plain", KIN_ADDRESS_ANY, 0, false, false, "plain", 0},
        {"@name", KIN_ADDRESS_ANY, 0, false, true, "name", 0},
        {"@name:1", KIN_ADDRESS_ANY, 0, false, true, "name:1", 0},
        {"./a:1", KIN_ADDRESS_ANY, 0, false, false, "./a:1", 0},
        {"localhost:80", KIN_ADDRESS_ANY, 0, true, false, "localhost", 80},
        {"localhost:80", KIN_ADDRESS_UNIX, 0, false, false, "localhost:80", 0},
        {"*:65535", KIN_ADDRESS_ANY, 0, true, false, "", 65535},
        {"host:65536", KIN_ADDRESS_INET, -22, true, false, "", 0},
        {"host:", KIN_ADDRESS_INET, -22, true, false, "", 0},
        {"host:1x", KIN_ADDRESS_INET, -22, true, false, "", 0},
        {"host", KIN_ADDRESS_INET, -22, true, false, "", 0},
        {":1", KIN_ADDRESS_ANY, -22, true, false, "", 0},
        {"", KIN_ADDRESS_ANY, -22, false, false, "", 0},
        {"@", KIN_ADDRESS_ANY, -22, false, true, "", 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct kin__address_text parsed;
        ck_assert_int_eq(kin__address_parse(cases[i].text, cases[i].family, &parsed), cases[i].rc);
        if (cases[i].rc == 0) {
            ck_assert_int_eq(parsed.inet, cases[i].inet);
            ck_assert_int_eq(parsed.abstract, cases[i].abstract);
            ck_assert_str_eq(parsed.inet ? parsed.host : parsed.name, cases[i].name);
            ck_assert_uint_eq(parsed.inet ? parsed.port : 0, cases[i].port);
        }
    }
}
END_TEST

static Suite *handshake_suite(void)
{
    Suite *suite = suite_create("handshake");
    TCase *tcase = tcase_create("one process");
    tcase_add_test(tcase, both_sides_agree);
    tcase_add_test(tcase, another_key_is_refused_by_both);
    tcase_add_test(tcase, a_clients_challenge_is_answered_by_listeners_only);
    tcase_add_test(tcase, a_listener_answers_nothing_before_the_proof);
    tcase_add_loop_test(tcase, known_answers, 0, sizeof answers / sizeof *answers);
    tcase_add_test(tcase, nonsense_is_refused);
    tcase_add_test(tcase, addresses);
    suite_add_tcase(suite, tcase);
    return suite;
}

KIT_CHECK_MAIN(handshake_suite)
