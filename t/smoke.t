#!/usr/bin/perl

# The least that an nginx with the module must do, whatever it was built with: take an event, refuse
# one, go on after a reload, end; and the worker stores what was taken.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use Nucleus::Test;

my $t = Nucleus::Test->new;

$t->start;

$t->is_receipt($t->post('/events', '{"id":"smoke-1"}'), 1, 'an event');
$t->is_receipt($t->post('/events', '{"id":"smoke-2","x":"' . 'x' x 400_000 . '"}'), 1, 'a large one');
$t->is_receipt($t->post('/events', qq({"id":"smoke-3"}\n{"id":"smoke-4"}\n), type => 'application/x-ndjson'), 2, 'two');
$t->is_problem($t->post('/events', '{"id":"never",}'), 400, 'invalid-json', { offset => 14 }, 'no JSON');
$t->is_problem($t->get('/events'), 405, 'method-not-allowed', {}, 'not a POST');

{
    my $c = $t->client;
    $c->send(Nucleus::Client::text('POST', '/events', [ 'Content-Type' => 'application/json',
        'Transfer-Encoding' => 'chunked' ]));
    $c->send(Nucleus::Client::chunked('{"id":"smoke-5","x":"' . 'x' x 50_000 . '"}', 1000));
    $t->is_receipt($c->response, 1, 'in chunks');
    $c->close;
}

$t->reload;
$t->is_receipt($t->post('/events', '{"id":"smoke-6"}'), 1, 'after a reload');

my @events = $t->wait_events(6);
is(join(' ', sort map { $_->{id} } @events), join(' ', map { "smoke-$_" } 1 .. 6), 'each is in the store, once');
is(scalar(grep { Nucleus::Store::sha256($_) ne $_->{data_sha256} } @events), 0, 'unchanged');

$t->finish;
done_testing;
