#!/usr/bin/perl

# docs/failures.md against the sources: each row has a test that exists, each message that it quotes
# is one that the sources can say.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use Nucleus::Test;

my $root = $Nucleus::Test::ROOT;

sub text_of {
    my ($path) = @_;

    open my $fh, '<:raw', $path or return;
    local $/;

    return scalar <$fh>;
}

# Every string constant, its parts joined, values as an ellipsis.
my @said;

for my $file (glob("$root/ngx_nucleus_module/*/*.c")) {
    my $text = text_of($file);
    $text =~ s/"\s+PRI[a-z]\d+\s+"/llu/g;

    while ($text =~ /((?:"(?:\\.|[^"\\\n])*"\s*)+)/g) {
        my $value = join '', $1 =~ /"((?:\\.|[^"\\\n])*)"/g;
        $value =~ s/\\"/"/g;
        $value =~ s/%(?:\.\*|[-0-9.]*)(?:ll|l|z|h)?[a-zA-Z]/…/g;
        push @said, $value;
    }
}

# also what the operating system and nginx say themselves
push @said, 'Read-only file system', 'Too many open files', 'no memory';

my $types = join '|', map { text_of("$root/ngx_nucleus_module/http/$_") =~ /\{\s*\d+,\s*"([a-z-]+)",/g }
    'ngx_http_nucleus_answer.c';

cmp_ok(scalar @said, '>', 200, 'the messages of the sources are found');
ok(length $types, 'and the problem types');

sub is_said {
    my ($quoted) = @_;

    my $pattern = join '.*', map { quotemeta } split /…/, $quoted, -1;

    return scalar grep { /$pattern/ } @said;
}

ok(is_said('write failed'), 'a message that there is');
ok(!is_said('the moon has … fallen'), 'and one that there is not');

my $page = text_of("$root/docs/failures.md") // '';
my ($rows, $messages, %tests) = (0, 0);

for my $line (split /\n/, $page) {
    next if $line !~ /^\| / || $line =~ /^\|[- |]+$/;

    my @cells = map { s/^\s+|\s+$//gr } split /\|/, $line, -1;
    shift @cells;
    pop @cells;
    my $name = substr $cells[0], 0, 60;
    next if $cells[-1] eq 'test';

    $rows++;
    is(scalar @cells, 6, "$name: six columns") or next;
    ok(!grep({ !length } @cells[ 0 .. 3, 5 ]), "$name: what the client and the operator see, what becomes of the data");

    my @files = $cells[5] =~ /`([^`]+)`/g;
    ok(@files && !grep({ !-f "$root/$_" } @files), "$name: its test is there") or diag("@files");
    $tests{$_} = 1 for @files;

    for my $problem ($cells[1] =~ /50\d `([a-z-]+)`/g, $cells[1] =~ /(?:or|then|;) `([a-z-]+)`/g) {
        like($problem, qr/^(?:$types)$/, "$name: $problem is a problem type");
    }

    for my $quoted (grep { !/^(?:lag|corrupt)$/ } $cells[2] =~ /`([^`]+)`/g) {
        $messages++;
        ok(is_said($quoted), "$name: \"$quoted\" is in the sources");
    }
}

cmp_ok($rows, '>', 30, "$rows rows");
cmp_ok($messages, '>', 40, "$messages messages");
cmp_ok(scalar keys %tests, '>', 8, 'the tests are many');

done_testing;
