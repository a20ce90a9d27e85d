#!/usr/bin/perl

# A body of lines, arriving in two parts cut at each of its bytes, and in chunks of each size: the
# receipt, or what is wrong, is the same to the byte, and the same events are stored.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use Nucleus::Test;

my $t = Nucleus::Test->new(
    locations => <<'END',
        location = /pieces { nucleus auto; client_body_buffer_size 16; }
        location = /static { return 200 "static\n"; }
END
);

$t->start;

my @events = (
    '{"id":"one","x":1}',
    '{ "id" : "t\u0077o", "text" : "a \"line\"\n" }',
    '{"x":[{"id":"not this"}],"id":"dr\u00e9i"}',
    "{\"id\":\"vier\",\"t\":\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"}",
);

# a blank line, one of spaces, one that ends by CRLF, a last one without LF
my $good = "$events[0]\n\n \t\r\n$events[1]\r\n$events[2]\n$events[3]";
my $bad = "$events[0]\n$events[1]\r\n{\"id\":\"f\xc3\xa9\",\"a\":[1,{\"b\":tru}]}\n$events[3]\n";

my @head = ('Content-Type' => 'application/x-ndjson', 'Idempotency-Key' => 'split');
my $barrier = $t->client;
my %stored;

# Answered when nginx has read what was sent before it: there is one nginx process.
sub pass_barrier {
    my $r = $barrier->request('GET', '/static', []);
    return $r && $r->status == 200;
}

# What of an answer may not differ.
sub what {
    my ($r) = @_;

    return 'no answer' if !$r;

    my $json = $r->json // {};
    my @keys = grep { $_ ne 'instance' && $_ ne 'request_id' && $_ ne 'received' } sort keys %$json;

    return join ' ', $r->status,
        map { my $v = $json->{$_}; "$_=" . (ref $v eq 'ARRAY' ? join(',', @$v) : $v) } @keys;
}

sub stored {
    my ($r) = @_;

    $stored{$_}++ for $r && $r->status == 202 ? @events : ();
}

for my $case ([ good => $good, 202 ], [ bad => $bad, 400 ]) {
    my ($name, $body, $status) = @$case;

    my $r = $t->client->request('POST', '/events', \@head, $body);
    stored($r);
    is($r->status, $status, "$name: $status");
    my $want = what($r);
    like($want, $status == 202 ? qr/\baccepted=4\b/ : qr{pointer=/a/1/b\b}, "$name: $want");

    for my $uri (qw(/events /pieces)) {
        my $c = $t->client;
        my ($same, $cuts) = (0, 0);
        my $text = Nucleus::Client::text('POST', $uri, \@head, $body);
        my $begin = length($text) - length($body);

        for my $cut ($begin .. length($text) - 1) {
            $c->send(substr($text, 0, $cut));
            pass_barrier() or last;
            $c->send(substr($text, $cut));

            $r = $c->response;
            stored($r);
            $cuts++;
            what($r) eq $want ? $same++ : diag("cut at $cut: " . what($r));
        }

        is($same, length $body, "$name, $uri: the same, cut at each of its bytes") or diag("$cuts cuts");
        $c->close;

        # all sizes in one packet: nginx meets them in its buffer as they fit
        $c = $t->client;
        $same = 0;
        my $chunked = Nucleus::Client::text('POST', $uri, [ @head, 'Transfer-Encoding' => 'chunked' ]);

        $c->send(join '', map { $chunked . Nucleus::Client::chunked($body, $_) } 1 .. length $body);

        for my $size (1 .. length $body) {
            $r = $c->response;
            stored($r);
            what($r) eq $want ? $same++ : diag("chunks of $size: " . what($r));
        }

        is($same, length $body, "$name, $uri: the same, in chunks of each size");
        is($c->rest, '', "$name, $uri: and not a byte more");
        $c->close;
    }
}

$barrier->close;

my $want = 0;
$want += $_ for values %stored;

my %found;
$found{ $_->{data} }++ for $t->wait_events($want);
is_deeply(\%found, \%stored, 'the store has the events as they were, as often as they were taken');

$t->finish;
done_testing;
