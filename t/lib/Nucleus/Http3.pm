package Nucleus::Http3;

# HTTP/3 by gtlsclient of the package ngtcp2-client, with headers of ours (http3.c).
#
#     my $h = Nucleus::Http3->new($t, $port);
#     my @answers = $h->post(['/events'], '{"id":"a"}');     # { status, type, durability, … }
#
# Before the nginx of a test is started: Nucleus::Http3::need, which finds one that has it.

use strict;
use warnings;

use File::Basename qw(dirname);

use Nucleus::Test;

# The nginx under test, or that of the build directory in TEST_HTTP3_BUILD; in CI one of them has to
# be there.
sub need {
    my $with = '--with-http_v3_module';

    if (!Nucleus::Test::nginx_has($with) && $ENV{TEST_HTTP3_BUILD}) {
        $ENV{TEST_NGINX_BINARY} = Nucleus::Test::built("$ENV{TEST_HTTP3_BUILD}/nginx/objs/nginx");
        $ENV{TEST_NGINX_MODULE} = Nucleus::Test::built("$ENV{TEST_HTTP3_BUILD}/modules/ngx_http_nucleus_module.so");
    }

    return if Nucleus::Test::nginx_has($with);

    my $why = Nucleus::Test::nginx_binary() . " has no HTTP/3; \"make stable\" tests it with one that has";
    die "$why\n" if $ENV{CI};
    Test::More::plan(skip_all => $why);
}

sub new {
    my ($class, $t, $port) = @_;

    return bless { t => $t, port => $port, so => $t->preload(dirname(__FILE__) . '/http3.c') }, $class;
}

# The command and the environment that POST the body to each of the URIs, streams of one connection.
# Options: type (application/json; undef for none), length => 0 (not said), args (of gtlsclient),
# headers (a list), gate (a file: see http3.c).
sub command {
    my ($self, $uris, $body, %opt) = @_;

    my $t = $self->{t};
    my $file = $t->write_file('h3.body', $body);
    my $type = exists $opt{type} ? $opt{type} : 'application/json';
    my %env = (LD_PRELOAD => $self->{so});
    my @fields = (defined $type ? ('content-type' => $type) : (), @{ $opt{headers} // [] });
    my @lines;

    while (my ($name, $value) = splice @fields, 0, 2) {
        push @lines, lc($name) . ": $value";
    }

    $env{NUCLEUS_FIELDS} = join "\n", @lines if @lines;
    $env{NUCLEUS_NO_LENGTH} = 1 if !($opt{length} // 1);
    $env{NUCLEUS_GATE} = $opt{gate} if defined $opt{gate};

    return (
        [ qw(gtlsclient --no-quic-dump --exit-on-all-streams-close -m POST --timeout=20s -d), $file, @{ $opt{args} // [] },
            '127.0.0.1', $self->{port}, map { "https://127.0.0.1:$self->{port}$_" } @$uris ],
        env => \%env
    );
}

# Their answers, in the order of the URIs: a hash of header fields each, "status" among them, and "body";
# all that the client has printed is in "out".
sub post {
    my ($self, @args) = @_;

    my ($command, %env) = $self->command(@args);
    my ($status, $out) = $self->{t}->run($command, %env);

    return answers($out, scalar @{ $args[0] });
}

# The same of what the client has printed.
sub answers {
    my ($out, $count) = @_;

    my (%answer, $stream);

    for my $line (split /\n/, $out) {
        if ($line =~ /^http: stream 0x([0-9a-f]+) \[:?([\w-]+): (.*)\]$/) {
            $answer{ hex $1 }{$2} = $3;
        }
        elsif ($line =~ /^http: stream 0x([0-9a-f]+) body \d+ bytes$/) {
            $stream = hex $1;
        }
        elsif (defined $stream && $line =~ /^[0-9a-f]{8}  ([0-9a-f ]+)\|/) {
            $answer{$stream}{body} .= pack 'H*', $1 =~ s/ //gr;
        }
    }

    $_->{out} = $out for values %answer;

    return map { $answer{ 4 * $_ } // { status => 0, out => $out } } 0 .. $count - 1;
}

1;
