package Nucleus::Docs;

# The commands and configurations of the documentation.
#
#     for my $block (Nucleus::Docs::blocks('docs/operations.md')) {
#         $block->{text}, $block->{line}, $block->{lang},    # "" for an indented one
#         $block->{run}                                      # of <!-- run: NAME --> before it
#     }
#     my @commands = Nucleus::Docs::commands($block);        # one command a line, comments taken off
#     Nucleus::Docs::follow($t, 'docs/operations.md', 'backup');    # gives them, on a machine of ours

use strict;
use warnings;

use File::Path ();
use Test::More ();

use Nucleus::Test;

my $root = $Nucleus::Test::ROOT;

# All documents, relative to the root of the sources.
sub files {
    my @files = map { glob "$root/$_*.md" }
        '', qw(docs/ conf-examples/ docker/ packaging/ t/ t/*/ tools/ ngx_nucleus_module/ ngx_nucleus_module/*/);

    return map { s{^\Q$root\E/}{}r } @files;
}

# The blocks of a document: fenced ones, and those that are indented by four after an empty line.
sub blocks {
    my ($file) = @_;

    my ($blocks, $current, $run, $before) = ([], undef, undef, '');
    my $number = 0;

    for my $line (split /^/, Nucleus::Test->read_file("$root/$file")) {
        $number++;

        if ($current && $current->{fenced}) {
            if ($line =~ /^```\s*$/) {
                $current = undef;
            } else {
                $current->{text} .= $line;
            }

        } elsif ($current && $line =~ /^(?:    (.*)|\s*)$/s) {
            $current->{text} .= $1 // "\n";

        } elsif ($line =~ /^```(\w*)/) {
            $current = add($blocks, $run, $number, $1, 1);
            $run = undef;

        } elsif ($line =~ /^<!-- run: (\w+) -->$/) {
            ($run, $current) = ($1, undef);

        } elsif ($before =~ /^\s*$/ && $line =~ /^    (.*)$/s) {
            my $text = $1;
            $current = add($blocks, $run, $number, '', 0);
            $current->{text} = $text;
            $run = undef;

        } elsif ($line =~ /\S/) {
            $current = undef;
            die "$file:$number: no commands after <!-- run: $run -->\n" if defined $run;
        }

        $before = $line;
    }

    return @$blocks;
}

sub add {
    my ($blocks, $run, $line, $lang, $fenced) = @_;

    push @$blocks, { text => '', run => $run, line => $line, lang => $lang, fenced => $fenced };

    return $blocks->[-1];
}

# The commands of a block, with continued lines joined and comments taken off.
sub commands {
    my ($block) = @_;

    my $text = $block->{text};
    $text =~ s/\\\n\s*/ /g;
    $text =~ s/\|\n\s*/| /g;

    return grep { length } map { s/\s+#\s.*$//r =~ s/^\s*#.*$//r =~ s/\s+$//r } split /\n/, $text;
}

# The block with a mark, in whatever document; there must be one.
sub marked {
    my ($file, $name) = @_;

    my @found = grep { ($_->{run} // '') eq $name } blocks($file);
    die "$file has " . @found . " blocks marked $name\n" if @found != 1;

    return $found[0];
}

# Give the commands of the block with a mark, and test that each ends with 0; returns a list of
# [ command, output ].  What stands below / is below the directory of the test, which starts and stops
# services itself, and is its own user.  Options:
#
#     before  { regex => code }       code to call before a command that matches
#     replace [ [ regex, text ], … ]  first of all, in each command
#     status  { regex => regex }      what the exit status of such a command must be instead of 0
sub follow {
    my ($t, $file, $mark, %opt) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    my ($dir, $bin) = ($t->dir, $t->dir . '/bin');
    File::Path::make_path($bin);
    symlink Nucleus::Test::worker_binary(), "$bin/nucleus-worker";
    symlink Nucleus::Test::ctl_binary(), "$bin/nucleusctl";

    my @done;

    for my $command (commands(marked($file, $mark))) {
        for my $pattern (keys %{ $opt{before} // {} }) {
            $opt{before}{$pattern}->() if $command =~ /$pattern/;
        }

        if ($command =~ /^systemctl (stop|start) (.+)$/) {
            service($t, $1, $_, "$mark: $command") for map { s/^nucleus-//r } split ' ', $2;
            next;
        }

        my ($ours, $want) = ($command, qr/^0$/);
        for my $pair (@{ $opt{replace} // [] }) {
            my ($from, $to) = @$pair;
            $ours =~ s/$from/$to/g;
        }

        for my $pattern (keys %{ $opt{status} // {} }) {
            $want = $opt{status}{$pattern} if $command =~ /$pattern/;
        }

        $ours =~ s{/etc/nucleus/worker\.conf}{$dir/worker.conf}g;
        $ours =~ s{/backup/}{$dir/backup/}g;
        $ours =~ s{(?<=[\s'=])/(?=(?:etc|mnt|srv|var)/)}{$dir/}g;
        $ours =~ s{runuser -u www-data -- }{}g;
        $ours =~ s{ --group www-data}{}g;

        my ($status, $out) = $t->run([ 'sh', '-c', "cd '$dir' && $ours" ], env => { PATH => "$bin:$ENV{PATH}" });
        Test::More::like($status, $want, "$mark: $command") or Test::More::diag("$ours\n$out");
        push @done, [ $command, $out ];
    }

    return @done;
}

sub service {
    my ($t, $verb, $service, $name) = @_;

    if ($verb eq 'stop') {
        Test::More::is($t->stop($service), 0, $name);
    } else {
        Test::More::ok($t->can("start_$service")->($t), $name);
    }
}

1;
